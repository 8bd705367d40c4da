/// A group of a ``FanoutGroups``.
typealias GroupID = Int32

/// Which connections get the same updates. Connections whose live subscriptions have the same patterns form a group, and
/// a commit is encoded once for all of them. Groups are kept from commit to commit; only subscribing changes them.
struct FanoutGroups {
    struct Group {
        /// Sorted; the group's key while it is shared.
        var patterns: [PatternID]
        /// The slots of the connections.
        var members: [Int32] = []
        /// A connection with many patterns is alone in a group that grows with it: looking up long sets of patterns at
        /// every step would cost the square of their number.
        var isPrivate = false
        /// The changes of the commit under way that the group gets.
        var pending: [Int32] = []
    }

    /// The greatest number of patterns of a shared group.
    static let maximumShared = 8

    private var groups = SlotMap<Group>()
    private var shared: [[PatternID]: GroupID] = [:]
    /// The groups that have each pattern.
    private var users: [GroupSet] = []
    /// The group of each connection's slot, where it has one, and its place in the group's members.
    private var places: [(group: GroupID, index: Int)?] = []
    /// The groups that the commit under way has something for.
    private(set) var touched: [GroupID] = []

    /// The number of groups.
    var count: Int { groups.count }

    subscript(id: GroupID) -> Group { groups[id] }

    /// Lets the connection in `slot` get what matches `pattern`; it has not had it before.
    mutating func add(_ pattern: PatternID, to slot: Int32) {
        while places.count <= Int(slot) { places.append(nil) }
        guard let place = places[Int(slot)] else { return join(slot, [pattern]) }
        if groups[place.group].isPrivate {
            groups[place.group].patterns.append(pattern)
            use(pattern, by: place.group)
        } else {
            let patterns = groups[place.group].patterns
            assert(!patterns.contains(pattern), "what a connection gets once it does not get twice")
            leave(slot)
            join(slot, (patterns + [pattern]).sorted())
        }
    }

    /// Ends what ``add(_:to:)`` began.
    mutating func remove(_ pattern: PatternID, from slot: Int32) {
        guard let place = places[Int(slot)] else { preconditionFailure("connection \(slot) gets nothing") }
        var patterns = groups[place.group].patterns
        guard let index = patterns.firstIndex(of: pattern) else {
            preconditionFailure("connection \(slot) does not get what matches \(pattern)")
        }
        patterns.remove(at: index)
        if groups[place.group].isPrivate, !patterns.isEmpty {
            groups[place.group].patterns = patterns
            users[Int(pattern)].remove(place.group)
        } else {
            leave(slot)
            if !patterns.isEmpty { join(slot, patterns) }
        }
    }

    /// Notes that every group with `pattern` gets the change of the commit under way with this index.
    mutating func note(_ change: Int, for pattern: PatternID) {
        guard Int(pattern) < users.count else { return }
        for group in users[Int(pattern)].groups {
            let last = groups[group].pending.last
            if last == Int32(change) { continue }
            assert(last ?? -1 < change, "changes are noted in their order")
            if last == nil { touched.append(group) }
            groups[group].pending.append(Int32(change))
        }
    }

    /// Forgets the commit under way.
    mutating func endCommit() {
        for group in touched { groups[group].pending.removeAll(keepingCapacity: true) }
        touched.removeAll(keepingCapacity: true)
    }

    private mutating func join(_ slot: Int32, _ patterns: [PatternID]) {
        let id = group(for: patterns)
        places[Int(slot)] = (id, groups[id].members.count)
        groups[id].members.append(slot)
    }

    private mutating func group(for patterns: [PatternID]) -> GroupID {
        let isPrivate = patterns.count > Self.maximumShared
        if !isPrivate, let id = shared[patterns] { return id }
        let id = groups.insert(Group(patterns: patterns, isPrivate: isPrivate))
        if !isPrivate { shared[patterns] = id }
        for pattern in patterns { use(pattern, by: id) }
        return id
    }

    private mutating func leave(_ slot: Int32) {
        guard let (id, index) = places[Int(slot)] else { preconditionFailure("connection \(slot) is in no group") }
        assert(groups[id].members[index] == slot)
        places[Int(slot)] = nil
        let last = groups[id].members.removeLast()
        if last != slot {
            groups[id].members[index] = last
            places[Int(last)] = (id, index)
        }
        guard groups[id].members.isEmpty else { return }
        let group = groups[id]
        if !group.isPrivate { shared[group.patterns] = nil }
        for pattern in group.patterns { users[Int(pattern)].remove(id) }
        groups.remove(id)
    }

    private mutating func use(_ pattern: PatternID, by group: GroupID) {
        while users.count <= Int(pattern) { users.append(GroupSet()) }
        users[Int(pattern)].insert(group)
    }
}

/// A set of groups that is gone through fast, and changed in constant time however large it is.
private struct GroupSet {
    /// Up to so many, looking for one is faster than knowing where it is.
    private static let few = 32

    private(set) var groups: [GroupID] = []
    /// Where each is; empty while there are few.
    private var places: [GroupID: Int32] = [:]

    /// Adds a group that is not in the set.
    mutating func insert(_ group: GroupID) {
        groups.append(group)
        if groups.count == Self.few + 1 {
            for (place, group) in groups.enumerated() { places[group] = Int32(place) }
        } else if groups.count > Self.few {
            places[group] = Int32(groups.count - 1)
        }
    }

    mutating func remove(_ group: GroupID) {
        let known = places.isEmpty ? groups.firstIndex(of: group) : places.removeValue(forKey: group).map(Int.init)
        guard let place = known, let last = groups.popLast() else { preconditionFailure("\(group) is not in the set") }
        if place < groups.count {
            groups[place] = last
            if !places.isEmpty { places[last] = Int32(place) }
        }
        if groups.count == Self.few { places = [:] }
    }
}
