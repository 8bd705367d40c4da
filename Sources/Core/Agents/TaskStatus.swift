package import SyncProtocol

/// What a task is doing.
package enum TaskStatus: String, CaseIterable, Sendable {
    /// It waits for dependencies, or for its time.
    case pending
    /// It waits for an agent.
    case ready
    /// An agent has it, under a claim.
    case working
    /// Its agent has laid it aside: it waits for somebody to resume it.
    case parked
    case completed
    case failed
    case cancelled

    /// Whether it is over, unless somebody has it retried.
    package var isTerminal: Bool {
        switch self {
        case .pending, .ready, .working, .parked: false
        case .completed, .failed, .cancelled: true
        }
    }

    /// Whether a task need not wait for a dependency with this status any longer. The one place that decides it.
    package func satisfies(_ policy: FailurePolicy) -> Bool {
        switch self {
        case .completed: true
        case .failed, .cancelled: policy == .run
        case .pending, .ready, .working, .parked: false
        }
    }

    /// Whether a dependency with this status ends what depends on it.
    package func cancels(_ policy: FailurePolicy) -> Bool {
        switch self {
        case .failed, .cancelled: policy == .cancel
        case .pending, .ready, .working, .parked, .completed: false
        }
    }
}
