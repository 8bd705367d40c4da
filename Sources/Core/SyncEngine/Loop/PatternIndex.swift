package import Access
package import Registers

/// A pattern of a ``PatternIndex``.
package typealias PatternID = Int32

/// Finds the distinct patterns that a key matches: exact ones by hash, most others in one walk over the key, and those that
/// begin with `**` and go on literally in one walk over it from its end. The few kinds that are left are tested one by one
/// (see ``Filter/matchingCost``): those that the key's first or last bytes lead to.
///
/// The same pattern under different read grants counts as different ones: what is matched here may be sent. A grant is
/// looked at once for a key, however many patterns are narrowed by it.
package struct PatternIndex: Sendable {
    private struct Entry: Sendable {
        var filter: Filter
        var uses: Int32
        /// Another pattern with the same hash; -1: there is none.
        var next: PatternID
        /// What keys are tested by that its place leads to; nil where that says it all.
        var matcher: Pattern.Matcher?
        /// What they have to fulfil besides, among ``scopes``; -1: nothing.
        var scope: Int32
    }

    private var entries = SlotMap<Entry>()
    /// The patterns by their hashes. The filters themselves stand among the entries: once is enough.
    private var ids: [Int: PatternID] = [:]
    private var exact: [Key: [PatternID]] = [:]
    private var prefixes = PatternTrie()
    /// Of what is read from the end.
    private var suffixes = PatternTrie()
    private var scopes = ScopeTable()
    /// Of the key that is looked up; kept for their memory.
    private var candidates: [PatternID] = []
    private var backwards: [UInt8] = []

    package init() {}

    /// The number of distinct patterns.
    package var count: Int { entries.count }
    /// Whether nothing is left of patterns that were there.
    package var isEmptied: Bool {
        ids.isEmpty && exact.isEmpty && prefixes.count == 1 && suffixes.count == 1 && scopes.isEmpty
    }

    /// Adds a use of `filter`. Each call wants one of ``release(_:)``.
    package mutating func retain(_ filter: Filter) -> PatternID {
        let hash = filter.hashValue
        if let id = find(filter, hash) {
            entries[id].uses += 1
            return id
        }
        let location = filter.location
        let entry = Entry(
            filter: filter, uses: 1, next: ids[hash] ?? -1,
            matcher: location.isDecisive ? nil : Pattern.Matcher(filter.pattern),
            scope: filter.isRestricted ? scopes.retain(filter.remainder) : -1)
        let id = entries.insert(entry)
        ids[hash] = id
        let isCertain = location.isDecisive && !filter.isRestricted
        for place in location.places {
            switch place {
            case .key(let key): exact[key, default: []].append(id)
            case .prefix(let path, let isOpen):
                prefixes.insert(id, isOpen: isOpen, isCertain: isCertain, at: path)
            case .suffix(let bytes):
                suffixes.insert(id, isOpen: true, isCertain: isCertain, at: [.literal(bytes.reversed())])
            }
        }
        return id
    }

    /// Takes a use of a pattern back.
    package mutating func release(_ id: PatternID) {
        let entry = entries[id]
        if entry.uses > 1 {
            entries[id].uses -= 1
            return
        }
        forget(id, entry)
        if entry.scope >= 0 { scopes.release(entry.scope) }
        for place in entry.filter.location.places {
            switch place {
            case .key(let key):
                exact[key]?.removeAll { $0 == id }
                if exact[key]?.isEmpty == true { exact[key] = nil }
            case .prefix(let path, _): prefixes.remove(id, at: path)
            case .suffix(let bytes): suffixes.remove(id, at: [.literal(bytes.reversed())])
            }
        }
    }

    private func find(_ filter: Filter, _ hash: Int) -> PatternID? {
        var id = ids[hash] ?? -1
        while id >= 0 {
            if entries[id].filter == filter { return id }
            id = entries[id].next
        }
        return nil
    }

    private mutating func forget(_ id: PatternID, _ entry: Entry) {
        let hash = entry.filter.hashValue
        if ids[hash] == id {
            ids[hash] = entry.next < 0 ? nil : entry.next
        } else {
            guard var before = ids[hash] else { preconditionFailure("pattern \(id) is not found by its hash") }
            while entries[before].next != id { before = entries[before].next }
            entries[before].next = entry.next
        }
        entries.remove(id)
    }

    /// Adds the patterns that `key` matches to `found`, in no particular order, each once.
    package mutating func findMatches(of key: Key, into found: inout [PatternID]) {
        if !exact.isEmpty, let ids = exact[key] { candidates += ids }
        var candidates: [PatternID] = []
        swap(&candidates, &self.candidates)
        defer { swap(&candidates, &self.candidates) }
        key.withBytes { prefixes.find($0, found: &found, candidates: &candidates) }
        if suffixes.count > 1 {
            key.withBytes { key in
                for index in key.indices.reversed() { backwards.append(key[index]) }
            }
            suffixes.find(backwards.span, found: &found, candidates: &candidates)
            backwards.removeAll(keepingCapacity: true)
        }
        if candidates.isEmpty { return }
        scopes.begin()
        for id in candidates where matches(id, key) { found.append(id) }
        candidates.removeAll(keepingCapacity: true)
    }

    private mutating func matches(_ id: PatternID, _ key: Key) -> Bool {
        let entry = entries[id]
        if let matcher = entry.matcher, !matcher.matches(key) { return false }
        return entry.scope < 0 || scopes.admits(entry.scope, key)
    }
}

/// The distinct scopes of a ``PatternIndex``, each asked once for a key.
private struct ScopeTable: Sendable {
    private struct Entry: Sendable {
        let scope: Scope
        var uses = 1
        /// The round of the last key that it was asked for, and the answer.
        var round: UInt64 = 0
        var verdict = false
    }

    private var entries = SlotMap<Entry>()
    private var ids: [Scope: Int32] = [:]
    private var round: UInt64 = 0

    var isEmpty: Bool { ids.isEmpty }

    mutating func retain(_ scope: Scope) -> Int32 {
        if let id = ids[scope] {
            entries[id].uses += 1
            return id
        }
        let id = entries.insert(Entry(scope: scope))
        ids[scope] = id
        return id
    }

    mutating func release(_ id: Int32) {
        if entries[id].uses > 1 {
            entries[id].uses -= 1
        } else {
            ids[entries[id].scope] = nil
            entries.remove(id)
        }
    }

    /// Another key is looked up from now on.
    mutating func begin() { round += 1 }

    mutating func admits(_ id: Int32, _ key: Key) -> Bool {
        if entries[id].round == round { return entries[id].verdict }
        let verdict = entries[id].scope.admits(key)
        entries[id].round = round
        entries[id].verdict = verdict
        return verdict
    }
}

/// Where a filter is found in a ``PatternIndex``.
private struct FilterLocation {
    enum Place {
        case key(Key)
        /// Where a way from the beginning of keys leads through, or, where it is not open, ends.
        case prefix([Pattern.Path.Step], isOpen: Bool)
        /// What keys end with.
        case suffix([UInt8])
    }

    /// A key leads to at most one of them.
    var places: [Place]
    /// Whether all keys that lead there match the pattern.
    var isDecisive: Bool
}

extension Filter {
    fileprivate var location: FilterLocation {
        let ranges = ranges
        if ranges == [KeyRange(of: pattern)] {
            if case .exact(let bytes) = pattern.shape {
                return FilterLocation(places: [.key(Key(unchecked: bytes))], isDecisive: true)
            }
            if let path = pattern.path {
                return FilterLocation(places: [.prefix(path.steps, isOpen: path.isOpen)], isDecisive: true)
            }
            let suffix = pattern.literalSuffix
            if pattern.literalPrefix.isEmpty, !suffix.isEmpty {
                return FilterLocation(places: [.suffix(suffix)], isDecisive: pattern.isSuffix)
            }
        }
        return FilterLocation(
            places: ranges.map { range in
                range.isExact
                    ? .key(Key(unchecked: range.start))
                    : .prefix(range.start.isEmpty ? [] : [.literal(range.start)], isOpen: true)
            }, isDecisive: false)
    }

    /// What it costs at most to find out whether a key matches, in eighths of a step for each byte of the key, which is
    /// half a microsecond. Nothing for the patterns that people use most: without wildcards, with `*` or `**` at the end, with
    /// `**` at the beginning alone, with one `*` that is a whole segment.
    package var matchingCost: Int {
        let location = location
        guard location.isDecisive else { return 8 * Pattern.Matcher.cost(of: pattern) }
        // In the trie, each of these is another way that a key may go.
        return max(0, (pattern.path?.steps.count { $0 == .restOfSegment } ?? 0) - 1)
    }
}
