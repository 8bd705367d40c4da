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
        var uses: Int
    }

    private var entries: [Entry?] = []
    private var free: [PatternID] = []
    private var ids: [Filter: PatternID] = [:]
    private var exact: [Key: [PatternID]] = [:]
    private var trie = PatternTrie()
    /// Of the key that is looked up; kept for its memory.
    private var candidates: [PatternID] = []

    package init() {}

    /// The number of distinct patterns.
    package var count: Int { ids.count }
    /// Whether nothing is left of patterns that were there.
    package var isEmptied: Bool { ids.isEmpty && exact.isEmpty && trie.count == 1 }

    /// Adds a use of `filter`. Each call wants one of ``release(_:)``.
    package mutating func retain(_ filter: Filter) -> PatternID {
        if let id = ids[filter] {
            entries[Int(id)]?.uses += 1
            return id
        }
        let id: PatternID
        if let reused = free.popLast() {
            id = reused
            entries[Int(id)] = Entry(filter: filter, uses: 1)
        } else {
            id = PatternID(entries.count)
            entries.append(Entry(filter: filter, uses: 1))
        }
        ids[filter] = id
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
        entries[Int(id)] = nil
        free.append(id)
        ids[entry.filter] = nil
        for place in entry.filter.places {
            switch place {
            case .key(let key):
                exact[key]?.removeAll { $0 == id }
                if exact[key]?.isEmpty == true { exact[key] = nil }
            case .node(let kind, let path): trie.remove(id, kind, at: path)
            }
        }
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
