import Dispatch
import Synchronization

/// Calls what is to happen when a time is over, each after the same time: with one timer for all, since most of them happen to nobody.
final class Deadlines: Sendable {
    /// How much later it may be, in milliseconds.
    private static let tick = 10

    private let patience: DispatchTimeInterval
    private let queue: DispatchQueue
    private let state = Mutex(State())

    private struct State {
        /// In their order.
        var waiting: [(at: DispatchTime, expire: @Sendable () -> Void)] = []
        var isTicking = false
    }

    /// - Parameter milliseconds: after how long.
    init(milliseconds: Int) {
        patience = .milliseconds(milliseconds)
        queue = DispatchQueue(label: "deadlines", qos: .userInitiated)
    }

    func add(_ expire: @escaping @Sendable () -> Void) {
        let at = DispatchTime.now() + patience
        let begins = state.withLock { state in
            state.waiting.append((at, expire))
            defer { state.isTicking = true }
            return !state.isTicking
        }
        if begins { schedule() }
    }

    private func schedule() {
        queue.asyncAfter(deadline: .now() + .milliseconds(Self.tick)) { [self] in
            let now = DispatchTime.now()
            let (due, goesOn) = state.withLock { state in
                let due = Array(state.waiting.prefix { $0.at <= now })
                state.waiting.removeFirst(due.count)
                state.isTicking = !state.waiting.isEmpty
                return (due, state.isTicking)
            }
            for one in due { one.expire() }
            if goesOn { schedule() }
        }
    }
}
