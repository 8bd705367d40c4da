import Access
import Registers

/// Which connections of an event loop get which changes: the patterns of its subscriptions, and who of them is live.
struct Fanout {
    private var index = PatternIndex()
    private var groups = FanoutGroups()
    /// How many live subscriptions with each pattern the connection in each slot has.
    private var live: [SmallDictionary<PatternID, Int32>] = []
    /// How many changes have matched each pattern.
    private var matched: [UInt64] = []
    /// How many subscriptions are behind by being slow: what matches them is counted, though it is handed to nobody.
    private var demoted = 0
    /// The patterns that the change being looked at matches; kept for its memory.
    private var found: [PatternID] = []

    var patternCount: Int { index.count }
    var groupCount: Int { groups.count }

    // MARK: Subscriptions

    /// A subscription comes. Each call wants one of ``remove(_:)``.
    mutating func add(_ filter: Filter) -> PatternID {
        let pattern = index.retain(filter)
        while matched.count <= Int(pattern) { matched.append(0) }
        return pattern
    }

    /// A subscription, which is not live, goes.
    mutating func remove(_ pattern: PatternID) { index.release(pattern) }

    /// A subscription of the connection in `slot` gets what is committed from now on.
    mutating func goLive(_ pattern: PatternID, _ slot: Int32) {
        while live.count <= Int(slot) { live.append(SmallDictionary()) }
        let count = live[Int(slot)][pattern] ?? 0
        live[Int(slot)][pattern] = count + 1
        if count == 0 { groups.add(pattern, to: slot) }
    }

    /// A live subscription gets nothing any more.
    mutating func leaveLive(_ pattern: PatternID, _ slot: Int32) {
        guard let count = live[Int(slot)][pattern] else { preconditionFailure("no such subscription is live") }
        live[Int(slot)][pattern] = count > 1 ? count - 1 : nil
        if count == 1 { groups.remove(pattern, from: slot) }
    }

    // MARK: Commits

    /// Works out which groups get which of some changes.
    ///
    /// - Returns: the groups; ``subscript(_:)`` says what each of them gets, until ``forget()``.
    mutating func match(_ changes: [CommittedChanges.Change]) -> [GroupID] {
        guard !changes.isEmpty, groups.count > 0 || demoted > 0 else { return [] }
        for (place, change) in changes.enumerated() {
            index.findMatches(of: change.key, into: &found)
            for pattern in found {
                groups.note(place, for: pattern)
                if change.revision != nil { matched[Int(pattern)] &+= 1 }
            }
            found.removeAll(keepingCapacity: true)
        }
        return groups.touched
    }

    subscript(group: GroupID) -> (members: [Int32], changes: [Int32]) {
        (groups[group].members, groups[group].pending)
    }

    /// Forgets what was matched last.
    mutating func forget() { groups.endCommit() }

    // MARK: Slow consumers

    /// A subscription is behind by being slow.
    ///
    /// - Parameter dropped: how many changes of each pattern it was not sent (``count(_:)``).
    /// - Returns: how many changes had matched its pattern when it was last sent one.
    mutating func demoted(_ pattern: PatternID, dropped: [PatternID: UInt64]) -> UInt64 {
        demoted += 1
        return matched[Int(pattern)] &- (dropped[pattern] ?? 0)
    }

    /// Such a subscription has caught up, or gone.
    ///
    /// - Parameter then: what ``demoted(_:dropped:)`` has said.
    /// - Returns: how many changes have matched its pattern since.
    mutating func promoted(_ pattern: PatternID, since then: UInt64) -> UInt64 {
        demoted -= 1
        assert(demoted >= 0, "more subscriptions have caught up than fell behind")
        return matched[Int(pattern)] &- then
    }

    /// How many changes of each pattern there are in what was not sent.
    mutating func count(_ dropped: [Delivery]) -> [PatternID: UInt64] {
        var counts: [PatternID: UInt64] = [:]
        for delivery in dropped {
            guard let commit = delivery.commit else { continue }
            for place in delivery.changes {
                let change = commit.changes[Int(place)]
                guard change.revision != nil else { continue }
                index.findMatches(of: change.key, into: &found)
                for pattern in found { counts[pattern, default: 0] += 1 }
                found.removeAll(keepingCapacity: true)
            }
        }
        return counts
    }
}
