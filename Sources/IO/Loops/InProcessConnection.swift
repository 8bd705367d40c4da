import Access
package import NIOCore
package import Registers
package import SyncProtocol
import Synchronization

/// A connection of a shard from within the process: what an API has for each of its clients. All that connections are subject to, this
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
        try await answer { transport, number, answer in transport.ask(request, number: number, answer) }
    }

    /// Asks several things at once, and waits for all answers: that is less than to wait for each.
    ///
    /// - Returns: the answers' JSON, in the order of the questions.
    package func ask(_ requests: [SyncMessage]) async throws(ConnectionEnd) -> [ByteBuffer] {
        let numbers = requests.map { _ in self.numbers.next }
        let results = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute { transport.value.ask(requests, numbers: numbers, continuation) }
            }
        } onCancel: {
            eventLoop.execute { for number in numbers { transport.value.forget(number) } }
        }
        var answers: [ByteBuffer] = []
        for result in results { answers.append(try result.get()) }
        return answers
    }

    /// Merges registers from another database as they are, each by itself, in one commit: for a grant that ``Grant/mayMerge``.
    ///
    /// - Parameter registers: at most 1,000, of 4 MiB together.
    /// - Returns: the answer's JSON: `replicated` with how many were `applied`, in place already (`same`) and `superseded`, and the
    ///   `key`, `code` and `message` of each that was `refused`; or an `error`, when nothing was merged.
    /// - Throws: ``ConnectionEnd`` where the connection ended before it came.
    package func replicate(_ registers: [Register]) async throws(ConnectionEnd) -> ByteBuffer {
        try await answer { transport, number, answer in transport.replicate(registers, number: number, answer) }
    }

    private func answer(
        _ ask: @escaping @Sendable (InProcessTransport, UInt64, InProcessTransport.Answer) -> Void
    ) async throws(ConnectionEnd) -> ByteBuffer {
        let number = numbers.next
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                eventLoop.execute { ask(transport.value, number, .one(continuation)) }
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

    /// Has a message `position` put behind everything up to a commit, for ``next(within:)``: once that was handed over, and nothing is caught up
    /// with any more. It is not sent where the connection ends before that, or asks again.
    package func tellPosition(from least: Revision) {
        eventLoop.execute { transport.value.tellPosition(from: least) }
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
