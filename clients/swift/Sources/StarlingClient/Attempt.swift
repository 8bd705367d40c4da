import NIOCore
import NIOPosix
import SyncClient
import Synchronization

/// A connection, or the attempt at one.
final class Attempt: Sendable {
    enum Event: Sendable {
        case message([UInt8])
        case closed(End)
    }

    /// How it ended.
    struct End: Sendable {
        let reason: String
        var code = "offline"
        /// Whether the next attempt would end in the same way.
        var isFinal = false

        init(reason: String) { self.reason = reason }

        init(_ error: any Error) {
            guard let error = error as? ClientError else {
                reason = "\(error)"
                return
            }
            reason = error.description
            switch error.code {
            case .badURL: (code, isFinal) = ("bad_url", true)
            case .unavailable, .protocolViolation: break
            case .untrusted: (code, isFinal) = ("bad_certificate", true)
            case .refused(let status): (code, isFinal) = Self.verdict(on: status)
            }
        }

        private static func verdict(on status: Int) -> (code: String, isFinal: Bool) {
            switch status {
            case 400: ("bad_handshake", true)
            case 401: ("unauthorized", true)
            case 403, 421: ("forbidden", true)
            case 404, 405, 426: ("not_found", true)
            default: ("offline", false)
            }
        }
    }

    private struct State {
        var channel: (any Channel)?
        var isOver = false
    }

    private let eventLoop: any EventLoop
    private let state = Mutex(State())

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// Connects.
    ///
    /// - Parameter report: is called on the event loop.
    func open(_ dialer: Dialer, report: @escaping @Sendable (Event) -> Void) {
        let opened = eventLoop.makePromise(of: Void.self)
        let connected = dialer.dial(on: eventLoop, opened: opened) { MessageHandler(report) }
        connected.whenComplete { [self] result in
            switch result {
            case .success(let channel):
                let isOver = state.withLock { state in
                    state.channel = channel
                    return state.isOver
                }
                if isOver { channel.close(promise: nil) }
            case .failure(let error):
                opened.fail(error)
                report(.closed(End(dialer.unavailable(error))))
            }
        }
        opened.futureResult.whenFailure { [self] error in
            // The channel tells of its own end only when it was there.
            guard state.withLock({ $0.channel }) != nil else { return }
            report(.closed(End(dialer.unavailable(error))))
        }
    }

    func send(_ bytes: [UInt8]) {
        // Later, and in order: whoever sends may hold a lock that the pipeline's handlers want.
        eventLoop.execute { [self] in
            state.withLock { $0.channel }?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        }
    }

    func hangUp() {
        eventLoop.execute { [self] in
            let channel = state.withLock { state in
                state.isOver = true
                return state.channel
            }
            channel?.close(promise: nil)
        }
    }
}

/// Hands on what a WebSocket brings.
private final class MessageHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let report: @Sendable (Attempt.Event) -> Void
    private var problem: (any Error)?

    init(_ report: @escaping @Sendable (Attempt.Event) -> Void) {
        self.report = report
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        report(.message(Array(unwrapInboundIn(data).readableBytesView)))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        problem = error
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        report(.closed(problem.map { .init($0) } ?? .init(reason: "the server closed it")))
    }
}

/// Measures how far away a server is.
enum Probe {
    private static let pings = 3
    private static let timeout = Duration.seconds(5)

    /// The least of a few round trips, in milliseconds: what is on the way, not what is in front of it.
    ///
    /// - Returns: nil where nobody answers.
    static func roundTrip(_ url: String, roots: String?) async -> Double? {
        try? await withThrowingTaskGroup(of: Double?.self) { group in
            group.addTask {
                try await SyncConnection.open(url, roots: roots) { connection, messages in
                    var best: Double?
                    var iterator = messages.makeAsyncIterator()
                    for _ in 0..<pings {
                        let sentAt = ContinuousClock.now
                        try await connection.send(#"{"type":"ping"}"#)
                        while let message = try await iterator.next() {
                            if String(buffer: message).hasPrefix(#"{"type":"pong""#) { break }
                        }
                        let milliseconds = (ContinuousClock.now - sentAt) / .milliseconds(1)
                        best = min(best ?? .infinity, milliseconds)
                    }
                    return best
                }
            }
            group.addTask {
                try await Task.sleep(for: timeout)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
    }
}
