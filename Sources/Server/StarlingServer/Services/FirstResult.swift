import Synchronization

/// A result that somebody waits for: the first that there is. What comes later is for nobody.
final class FirstResult<Value: Sendable>: Sendable {
    private enum State {
        case waiting(CheckedContinuation<Value?, Never>?)
        case given(Value?)
    }

    private let state = Mutex(State.waiting(nil))

    /// - Parameter value: nil: there is none in time.
    func give(_ value: Value?) {
        let waiting = state.withLock { state -> CheckedContinuation<Value?, Never>? in
            guard case .waiting(let continuation) = state else { return nil }
            state = .given(value)
            return continuation
        }
        waiting?.resume(returning: value)
    }

    /// Waits for it; for one task.
    var value: Value? {
        get async {
            await withCheckedContinuation { continuation in
                let given = state.withLock { state -> Value?? in
                    if case .given(let value) = state { return .some(value) }
                    state = .waiting(continuation)
                    return nil
                }
                if let given { continuation.resume(returning: given) }
            }
        }
    }
}
