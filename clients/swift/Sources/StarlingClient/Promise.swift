import Synchronization

/// A value that comes later, once, for any number of those who wait.
final class Promise<Value: Sendable>: Sendable {
    private enum State {
        case waiting([Int: CheckedContinuation<Value, any Error>], next: Int)
        case done(Result<Value, any Error>)
    }

    private let state = Mutex(State.waiting([:], next: 0))

    func complete(_ result: Result<Value, any Error>) {
        let waiting: [CheckedContinuation<Value, any Error>] = state.withLock { state in
            guard case .waiting(let waiting, _) = state else { return [] }
            state = .done(result)
            return Array(waiting.values)
        }
        for continuation in waiting { continuation.resume(with: result) }
    }

    /// Waits for it.
    ///
    /// - Throws: what it was completed with; `CancellationError`.
    var value: Value {
        get async throws {
            let id = state.withLock { state in
                guard case .waiting(let waiting, let next) = state else { return 0 }
                state = .waiting(waiting, next: next + 1)
                return next
            }
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    let result: Result<Value, any Error>? = state.withLock { state in
                        switch state {
                        case .done(let result): return result
                        case .waiting(var waiting, let next):
                            if Task.isCancelled { return .failure(CancellationError()) }
                            waiting[id] = continuation
                            state = .waiting(waiting, next: next)
                            return nil
                        }
                    }
                    if let result { continuation.resume(with: result) }
                }
            } onCancel: {
                let continuation: CheckedContinuation<Value, any Error>? = state.withLock { state in
                    guard case .waiting(var waiting, let next) = state else { return nil }
                    defer { state = .waiting(waiting, next: next) }
                    return waiting.removeValue(forKey: id)
                }
                continuation?.resume(throwing: CancellationError())
            }
        }
    }
}
