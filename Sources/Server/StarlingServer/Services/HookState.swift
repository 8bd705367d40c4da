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
    /// How many kinds of work are counted, each of an agent.
    private static let maximumCounted = 4_096
    /// How many sessions may be summed up at once.
    private static let maximumEnds = 4
    /// How often a session is said to be there, in milliseconds.
    private static let renewal: UInt64 = 60_000

    /// A session as somebody tells of it: what one does in its name is nothing to another.
    struct Name: Hashable {
        var bearer: [UInt8]
        var agent: Agent
        var session: Segment
    }

    /// What a session was told: what comes again with each prompt is in the way.
    private struct Told {
        /// How many finds are remembered.
        static let maximumFinds = 64

        /// The key of the latest message of each box.
        var latest: [String: String] = [:]
        /// By their hashes; of more the oldest are told again.
        var finds: [Int] = []
    }

    private struct State {
        var underWay = 0
        var taken: UInt64 = 0
        /// What was not kept, by why.
        var dropped: [String: UInt64] = [:]
        /// When each session was last said to be there, in milliseconds.
        var renewed: [Name: UInt64] = [:]
        /// What each session was told.
        var told: [Name: Told] = [:]
        var ending: Set<Name> = []
        /// The keys of what was counted.
        var counted: Set<String> = []
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
    func shouldRenew(_ session: Name, now: WallTime) -> Bool {
        state.withLock { state in
            guard let last = state.renewed[session] else { return true }
            return now.milliseconds < last || now.milliseconds - last >= Self.renewal
        }
    }

    /// Notes that it was said.
    func noteRenewal(of session: Name, now: WallTime) {
        state.withLock { state in
            // Those of long ago are said to be there once more often.
            if state.renewed.count >= Self.maximumSessions { state.renewed = [:] }
            state.renewed[session] = now.milliseconds
        }
    }

    func forget(_ session: Name) {
        state.withLock { state in
            state.renewed[session] = nil
            state.told[session] = nil
        }
    }

    /// The latest message of a box that a session was told of.
    func told(_ box: String, in session: Name) -> String? { state.withLock { $0.told[session]?.latest[box] } }

    /// Whether a session was not told of something.
    func isNews(_ find: String, for session: Name) -> Bool {
        state.withLock { $0.told[session]?.finds.contains(find.hashValue) != true }
    }

    /// Notes what a session was told.
    func tell(_ told: News, in session: Name) {
        if told.isEmpty { return }
        state.withLock { state in
            if state.told.count >= Self.maximumSessions, state.told[session] == nil { state.told = [:] }
            var known = state.told[session] ?? Told()
            // An agent that names ever other swarms is told again.
            if known.latest.count >= Told.maximumFinds { known.latest = [:] }
            known.latest.merge(told.latest) { max($0, $1) }
            known.finds += told.finds.map(\.hashValue)
            known.finds.removeFirst(max(0, known.finds.count - Told.maximumFinds))
            state.told[session] = known
        }
    }

    /// Whether something is to be counted: kinds of work are made up by those who do it, and there are to be no more than so many.
    func counts(_ key: String) -> Bool {
        state.withLock { state in
            state.counted.contains(key)
                || state.counted.count < Self.maximumCounted && state.counted.insert(key).inserted
        }
    }

    /// Ends of sessions, each once at a time, and few in all: one reads everything that there is of it.
    func beginEnd(of session: Name) -> Bool {
        state.withLock { state in
            state.ending.count < Self.maximumEnds && state.ending.insert(session).inserted
        }
    }

    func finishEnd(of session: Name) { state.withLock { _ = $0.ending.remove(session) } }

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

extension HookState {
    /// What an answer tells: it is told once the answer is out.
    struct News: Sendable {
        /// The key of the latest message of each box.
        var latest: [String: String] = [:]
        /// What was found.
        var finds: [String] = []

        var isEmpty: Bool { latest.isEmpty && finds.isEmpty }
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
