import NIOCore
import SyncClient

/// Opens and closes the connections of a load generator, some at a time. Belongs to its event loop.
final class LoadOpener {
    let dialer: Dialer
    private(set) var connections: [LoadConnection?] = []
    /// What a connection subscribes by; nil: it does not.
    var subscription: (Int) -> String? = { _ in nil }
    private var waiting: Range<Int> = 0..<0
    private var left = 0
    private var opened: EventLoopPromise<Void>?
    private var toClose = 0
    private var closed: EventLoopPromise<Void>?

    /// How many connections are open and have what they subscribed to.
    private(set) var ready = 0

    init(dialer: Dialer) {
        self.dialer = dialer
    }

    /// The connections of a range are to be opened.
    func open(_ range: Range<Int>, _ promise: EventLoopPromise<Void>) {
        while connections.count < range.upperBound { connections.append(nil) }
        waiting = range
        left = range.count
        ready = 0
        opened = promise
        if range.isEmpty { promise.succeed() }
    }

    /// The next one to be opened.
    func takeNext() -> Int? { waiting.popFirst() }

    func add(_ connection: LoadConnection) { connections[connection.index] = connection }

    func isReady(_ connection: LoadConnection) {
        ready += 1
        left -= 1
        if left == 0 { opened?.succeed() }
    }

    /// Closes the connections of a range.
    func close(_ range: Range<Int>, _ promise: EventLoopPromise<Void>) {
        let open = connections[range].compactMap { $0 }.filter(\.isOpen)
        toClose = open.count
        closed = promise
        if open.isEmpty { return promise.succeed() }
        for connection in open { connection.close() }
    }

    /// - Returns: whether it was to be closed.
    func disconnected(_ connection: LoadConnection) -> Bool {
        guard toClose > 0 else { return false }
        connections[connection.index] = nil
        toClose -= 1
        if toClose == 0 { closed?.succeed() }
        return true
    }

    func fail(_ message: String) {
        opened?.fail(ClientError(.unavailable, message))
        closed?.fail(ClientError(.unavailable, message))
    }
}

extension LoadRun {
    /// Opens connections, so many handshakes at a time, and waits until each has what it subscribes to.
    func open(_ range: Range<Int>, atOnce: Int = 64, _ subscription: @escaping @Sendable (Int) -> String?) async throws
    {
        let began = NIODeadline.now()
        try await eventLoop.flatSubmit { [self] in
            let promise = eventLoop.makePromise(of: Void.self)
            opener.subscription = subscription
            opener.open(range, promise)
            for _ in 0..<atOnce { dialNext() }
            return promise.futureResult
        }.get()
        let seconds = Double((NIODeadline.now() - began).nanoseconds) / 1e9
        try await eventLoop.submit { [self] in
            report.opened += range.count
            report.openingSeconds += seconds
        }.get()
    }

    private func dialNext() {
        guard let index = opener.takeNext() else { return }
        let opened = eventLoop.makePromise(of: Void.self)
        let connection = LoadConnection(index: index, owner: self)
        let bound = NIOLoopBound(connection, eventLoop: eventLoop)
        opener.add(connection)
        opener.dialer.dial(on: eventLoop, opened: opened) { bound.value }.whenFailure { opened.fail($0) }
        opened.futureResult.whenComplete { [self] result in
            switch result {
            case .success: dialNext()
            case .failure(let error): fail(opener.dialer.unavailable(error).description)
            }
        }
    }

    func close(_ range: Range<Int>) async throws {
        try await eventLoop.flatSubmit { [self] in
            let promise = eventLoop.makePromise(of: Void.self)
            opener.close(range.clamped(to: 0..<opener.connections.count), promise)
            return promise.futureResult
        }.get()
    }
}
