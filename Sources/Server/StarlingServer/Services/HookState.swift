import Agents
import Registers
import SyncProtocol
import Synchronization

/// What there is to know of all hooks together: how many are under way, which sessions were heard of lately, and what was not kept.
final class HookState: Sendable {
    /// How many may be under way, answered or not.
    private static let maximumHooks = 1_024
    /// How many sessions are remembered.
    private static let maximumSessions = 8_192
    /// How often a session is said to be there.
    private static let renewal: UInt64 = 60_000

    private struct State {
        var underWay = 0
        var taken: UInt64 = 0
        /// What was not kept, by why.
        var dropped: [String: UInt64] = [:]
        /// When each session was last said to be there, in milliseconds.
        var renewed: [Segment: UInt64] = [:]
        /// The latest message that an agent of a session was told to be unread.
        var told: [Segment: String] = [:]
        var lastStamp: (time: UInt64, count: UInt16) = (0, 0)
    }

    private let state = Mutex(State())

    /// Begins one. - Returns: false: there are too many.
    func begin() -> Bool {
        state.withLock { state in
            state.taken += 1
            guard state.underWay < Self.maximumHooks else { return false }
            state.underWay += 1
            return true
        }
    }

    func end() { state.withLock { $0.underWay -= 1 } }

    /// Notes that something is not kept.
    func drop(because reason: String) { state.withLock { $0.dropped[reason, default: 0] += 1 } }

    /// Whether it is time to say that a session is there.
    func shouldRenew(_ session: Segment, now: WallTime) -> Bool {
        state.withLock { state in
            if let last = state.renewed[session], now.milliseconds >= last, now.milliseconds - last < Self.renewal {
                return false
            }
            // Those of long ago are said to be there once more often.
            if state.renewed.count >= Self.maximumSessions { state.renewed = [:] }
            state.renewed[session] = now.milliseconds
            return true
        }
    }

    func forget(_ session: Segment) {
        state.withLock { state in
            state.renewed[session] = nil
            state.told[session] = nil
        }
    }

    /// Whether there is a message that the agent of a session was not told of.
    func isNews(_ latest: String, for session: Segment) -> Bool {
        state.withLock { state in
            guard (state.told[session] ?? "") < latest else { return false }
            if state.told.count >= Self.maximumSessions { state.told = [:] }
            state.told[session] = latest
            return true
        }
    }

    /// A name for a record, which sorts by time.
    ///
    /// - Parameter node: tells it from those of other databases.
    func stamp(now: WallTime, node: String) -> [UInt8] {
        let (time, count) = state.withLock { state in
            let isLater = now.milliseconds > state.lastStamp.time
            let isFull = state.lastStamp.count == .max
            state.lastStamp =
                isLater
                ? (now.milliseconds, 0)
                : isFull ? (state.lastStamp.time + 1, 0) : (state.lastStamp.time, state.lastStamp.count + 1)
            return state.lastStamp
        }
        func hex(_ number: some BinaryInteger, _ digits: Int) -> String {
            let text = String(number, radix: 16)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
        }
        return Array("\(hex(time, 12))-\(hex(count, 4))-\(node)".utf8)
    }
}

extension HookState: MetricsSource {
    /// Why something may not be kept, for who watches it before that.
    private static let reasons = ["forbidden", "overloaded", "storage_failed", "unauthorized"]

    func write(to page: inout PrometheusText) {
        let (taken, dropped) = state.withLock { ($0.taken, $0.dropped) }
        page.counter("starling_hooks_total", "Events of hooks that were taken.", taken)
        let names = Set(Self.reasons).union(dropped.keys).sorted()
        page.labelled(
            "starling_hook_records_dropped_total", "Records of hooks that were not kept, by why.", type: "counter",
            label: "reason", names.map { ($0, "\(dropped[$0] ?? 0)") })
    }
}
