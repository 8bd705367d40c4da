package import Access
package import Registers

/// A pattern of a ``PatternIndex``.
package typealias PatternID = Int32

/// Finds the distinct patterns that a key matches: exact ones by hash, all others in one walk over the key, apart from the few
/// kinds that have to be tested one by one: see ``Pattern/path``. Those are found by the literal bytes they begin with.
///
/// The same pattern under different read grants counts as different ones: what is matched here may be sent.
package struct PatternIndex: Sendable {
    private struct Entry: Sendable {
        var filter: Filter
        var uses: Int32
        /// Another pattern with the same hash; -1: there is none.
        var next: PatternID
    }

    private var entries: [Entry?] = []
    private var free: [PatternID] = []
    /// The patterns by their hashes. The filters themselves stand among the entries: once is enough.
    private var ids: [Int: PatternID] = [:]
    private var exact: [Key: [PatternID]] = [:]
    private var trie = PatternTrie()
    /// Of the key that is looked up; kept for its memory.
    private var candidates: [PatternID] = []

    package init() {}

    /// The number of distinct patterns.
    package var count: Int { entries.count - free.count }
    /// Whether nothing is left of patterns that were there.
    package var isEmptied: Bool { ids.isEmpty && exact.isEmpty && trie.count == 1 }

    /// Adds a use of `filter`. Each call wants one of ``release(_:)``.
    package mutating func retain(_ filter: Filter) -> PatternID {
        let hash = filter.hashValue
        if let id = find(filter, hash) {
            entries[Int(id)]?.uses += 1
            return id
        }
        let entry = Entry(filter: filter, uses: 1, next: ids[hash] ?? -1)
        let id: PatternID
        if let reused = free.popLast() {
            id = reused
            entries[Int(id)] = entry
        } else {
            id = PatternID(entries.count)
            entries.append(entry)
        }
        ids[hash] = id
        for place in filter.places {
            switch place {
            case .key(let key): exact[key, default: []].append(id)
            case .node(let kind, let path): trie.insert(id, kind, at: path)
            }
        }
        return id
    }

    /// Takes a use of a pattern back.
    package mutating func release(_ id: PatternID) {
        guard let entry = entries[Int(id)] else { return }
        if entry.uses > 1 {
            entries[Int(id)]?.uses -= 1
            return
        }
        forget(id, entry)
        for place in entry.filter.places {
            switch place {
            case .key(let key):
                exact[key]?.removeAll { $0 == id }
                if exact[key]?.isEmpty == true { exact[key] = nil }
            case .node(_, let path): trie.remove(id, at: path)
            }
        }
    }

    private func find(_ filter: Filter, _ hash: Int) -> PatternID? {
        var id = ids[hash] ?? -1
        while id >= 0, let entry = entries[Int(id)] {
            if entry.filter == filter { return id }
            id = entry.next
        }
        return nil
    }

    private mutating func forget(_ id: PatternID, _ entry: Entry) {
        let hash = entry.filter.hashValue
        if ids[hash] == id {
            ids[hash] = entry.next < 0 ? nil : entry.next
        } else {
            var before = ids[hash] ?? -1
            while before >= 0, let next = entries[Int(before)]?.next, next != id { before = next }
            if before >= 0 { entries[Int(before)]?.next = entry.next }
        }
        entries[Int(id)] = nil
        free.append(id)
    }

    /// Adds the patterns that `key` matches to `found`, in no particular order, each once.
    package mutating func findMatches(of key: Key, into found: inout [PatternID]) {
        if !exact.isEmpty, let ids = exact[key] {
            for id in ids where matches(id, key) { found.append(id) }
        }
        trie.find(key.bytes, found: &found, candidates: &candidates)
        if candidates.isEmpty { return }
        for id in candidates where matches(id, key) { found.append(id) }
        candidates.removeAll(keepingCapacity: true)
    }

    private func matches(_ id: PatternID, _ key: Key) -> Bool {
        entries[Int(id)]?.filter.matches(key) == true
    }
}

/// Where a filter is found in a ``PatternIndex``.
private enum FilterPlace {
    case key(Key)
    case node(PatternTrie.Kind, [Pattern.Path.Step])
}

extension Filter {
    fileprivate var places: [FilterPlace] {
        let path = isRestricted ? nil : pattern.path
        return ranges.map { range in
            if range.isExact { return .key(Key(unchecked: range.start)) }
            if let path { return .node(path.isOpen ? .prefix : .exact, path.steps) }
            return .node(.candidate, range.start.isEmpty ? [] : [.literal(range.start)])
        }
    }
}
