import NIOCore
import Synchronization

/// A value that there will be, for one task that waits for it, a while at a time.
final class Eventual<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiting: CheckedContinuation<Void, Never>?
        /// Which wait it is: a timer ends its own only.
        var number: UInt64 = 0
    }

    private let state = Mutex(State())

    /// The value; nil: there is none yet.
    var given: Value? { state.withLock { $0.value } }

    /// Gives the value; the first one counts.
    func give(_ value: Value) {
        let waiting = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.value == nil else { return nil }
            state.value = value
            defer { state.waiting = nil }
            return state.waiting
        }
        waiting?.resume()
    }

    /// Waits for it.
    ///
    /// - Returns: nil where it did not come in time, or the task was cancelled.
    func value(within patience: TimeAmount, on eventLoop: any EventLoop) async -> Value? {
        let number = state.withLock { state in
            state.number += 1
            return state.number
        }
        let timer = eventLoop.scheduleTask(in: patience) { [self] in wake(number) }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    guard state.value == nil, state.number == number, !Task.isCancelled else { return true }
                    state.waiting = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            wake(number)
        }
        timer.cancel()
        return state.withLock { $0.value }
    }

    private func wake(_ number: UInt64) {
        let waiting = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.number == number else { return nil }
            // A wait that has not begun yet is over, too.
            state.number += 1
            defer { state.waiting = nil }
            return state.waiting
        }
        waiting?.resume()
    }
}
