package import Access
package import NIOCore
import SyncEngine
import SyncProtocol
import Synchronization

/// A connection of a shard from within the process: what a door has for each of its clients. All that connections are subject to, this
/// one is too: its grant, the limits on messages and keys, conflation, the end of a grant, and the server's.
///
/// It lasts until it is closed, or until the server ends it; whoever drops it without a ``close()`` leaves it behind.
package struct InProcessConnection: Sendable {
    private let eventLoop: any EventLoop
    private let transport: NIOLoopBound<InProcessTransport>
    private let numbers = Numbers()

    /// The numbers that questions carry.
    private final class Numbers: Sendable {
        private let last = Atomic<UInt64>(0)
        var next: UInt64 { last.add(1, ordering: .relaxed).newValue }
    }

    /// On the event loop.
    init(_ transport: InProcessTransport, _ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.transport = NIOLoopBound(transport, eventLoop: eventLoop)
    }

    /// Asks something, and waits for the answer.
    ///
    /// - Returns: the answer's JSON, an `error` too.
    /// - Throws: ``ConnectionEnd`` where the connection ended before it came.
    package func ask(_ request: SyncMessage) async throws(ConnectionEnd) -> ByteBuffer {
        let number = numbers.next
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute { transport.value.ask(request, number: number, continuation) }
            }
        } onCancel: {
            eventLoop.execute { transport.value.forget(number) }
        }
        return try result.get()
    }

    /// Sends something, whose answer comes with everything else: by ``next(within:)``.
    package func send(_ request: SyncMessage) {
        eventLoop.execute { transport.value.send(request) }
    }

    /// What comes next of what was not asked for.
    package enum Received: Sendable {
        /// Messages, each as its JSON, in their order. To take them slowly is to have a backlog.
        case messages([ByteBuffer])
        /// There was nothing for so long, or the task was cancelled.
        case silence
        case end(ConnectionEnd)
    }

    /// Waits for what comes next; for one task at a time.
    package func next(within patience: TimeAmount) async -> Received {
        let taken = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: InProcessTransport.Taker) in
                if Task.isCancelled { return continuation.resume(returning: .silence) }
                eventLoop.execute { transport.value.take(within: patience, continuation) }
            }
        } onCancel: {
            eventLoop.execute { transport.value.stopTaking() }
        }
        return switch taken {
        case .messages(let messages): .messages(messages)
        case .silence: .silence
        case .end(let end): .end(end)
        }
    }

    /// Ends it, and what is bound to it. Safe to repeat.
    package func close() {
        eventLoop.execute { transport.value.close() }
    }
}

/// What a door is given, and all that it is given: it says who somebody is, and makes connections for them.
package struct InProcessConnections: Sendable {
    private let drivers: [LoopDriver]
    private let authority: any Authority

    package init(_ drivers: [LoopDriver], _ authority: any Authority) {
        self.drivers = drivers
        self.authority = authority
    }

    /// What the bearer of some credentials may do.
    ///
    /// - Parameter credential: nil: none were brought.
    package func grant(for credential: Credential?) async throws(AccessRefusal) -> Grant {
        guard let credential else { return authority.anonymous }
        let result = await withCheckedContinuation { continuation in
            authority.check(credential) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Makes a connection.
    ///
    /// - Parameters:
    ///   - eventLoop: where whoever asks for it is at home; one of the server's.
    ///   - isTaken: whether ``InProcessConnection/next(within:)`` will be called: else what is not asked for is thrown away.
    /// - Throws: ``AccessRefusal`` where the rules have changed since they were asked.
    package func open(
        _ grant: Grant, on eventLoop: any EventLoop, isTaken: Bool
    ) async throws(AccessRefusal) -> InProcessConnection {
        let driver = drivers.first { $0.eventLoop === eventLoop } ?? drivers[0]
        let authority = authority
        let result: Result<InProcessConnection, AccessRefusal> = await withCheckedContinuation { continuation in
            driver.eventLoop.execute {
                if let problem = authority.problem(with: grant) {
                    return continuation.resume(returning: .failure(problem))
                }
                let transport = InProcessTransport(driver, isTaken: isTaken)
                transport.connected(as: driver.connect(transport, grant: grant))
                driver.run()
                continuation.resume(returning: .success(InProcessConnection(transport, driver.eventLoop)))
            }
        }
        return try result.get()
    }
}
