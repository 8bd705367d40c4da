import Synchronization

/// A result that somebody waits for, up to a time: what comes later is for nobody.
final class FirstResult<Value: Sendable>: Sendable {
    private enum State {
        case waiting(CheckedContinuation<Value?, Never>?)
        case given(Value?)
    }

    private let state = Mutex(State.waiting(nil))

    /// - Returns: whether somebody gets it: that is the first, and in time.
    @discardableResult
    func give(_ value: Value?) -> Bool {
        let (isFirst, waiting) = state.withLock { state -> (Bool, CheckedContinuation<Value?, Never>?) in
            guard case .waiting(let continuation) = state else { return (false, nil) }
            state = .given(value)
            return (true, continuation)
        }
        waiting?.resume(returning: value)
        return isFirst
    }

    /// Waits for it; for one task.
    ///
    /// - Returns: nil: it did not come in time.
    func value(within patience: Duration) async -> Value? {
        let timer = Task {
            try? await Task.sleep(for: patience)
            if !Task.isCancelled { give(nil) }
        }
        defer { timer.cancel() }
        return await withCheckedContinuation { continuation in
            let given = state.withLock { state -> Value?? in
                if case .given(let value) = state { return .some(value) }
                state = .waiting(continuation)
                return nil
            }
            if let given { continuation.resume(returning: given) }
        }
    }
}
