package import Access
package import Registers

/// A pattern of a ``PatternIndex``.
package typealias PatternID = Int32

/// Finds the distinct patterns that a key matches: exact ones by hash, prefixes by trie, the others one by one, but only
/// those whose literal beginning the key shares. What a key matched is remembered until a pattern comes or goes.
///
/// The same pattern under different read grants counts as different ones: what is matched here may be sent.
package struct PatternIndex: Sendable {
    private struct Entry: Sendable {
        var filter: Filter
        var uses: Int
    }

    /// How many keys are remembered.
    private static let cacheCapacity = 8_192

    private var entries: [Entry?] = []
    private var free: [PatternID] = []
    private var ids: [Filter: PatternID] = [:]
    private var exact: [Key: [PatternID]] = [:]
    private var tries = PrefixTries()
    private var cache: [Key: [PatternID]] = [:]

    /// Prefix patterns match by being found; general ones are candidates that have to be tested.
    private struct PrefixTries: Sendable {
        var prefixes = PrefixTrie<PatternID>()
        var candidates = PrefixTrie<PatternID>()
    }

    package init() {}

    /// The number of distinct patterns.
    package var count: Int { ids.count }

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
        cache.removeAll(keepingCapacity: true)
        for range in filter.ranges {
            if range.isExact {
                exact[Key(unchecked: range.start), default: []].append(id)
            } else if filter.isPrefix {
                tries.prefixes.insert(id, at: range.start)
            } else {
                tries.candidates.insert(id, at: range.start)
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
        cache.removeAll(keepingCapacity: true)
        for range in entry.filter.ranges {
            if range.isExact {
                let key = Key(unchecked: range.start)
                exact[key]?.removeAll { $0 == id }
                if exact[key]?.isEmpty == true { exact[key] = nil }
            } else if entry.filter.isPrefix {
                tries.prefixes.remove(id, at: range.start)
            } else {
                tries.candidates.remove(id, at: range.start)
            }
        }
    }

    /// The patterns that `key` matches, in no particular order.
    package mutating func matches(_ key: Key) -> [PatternID] {
        if let found = cache[key] { return found }
        var found = (exact[key] ?? []).filter { entries[Int($0)]?.filter.matches(key) == true }
        tries.prefixes.forEachPrefix(of: key.bytes) { found.append($0) }
        tries.candidates.forEachPrefix(of: key.bytes) { id in
            if entries[Int(id)]?.filter.matches(key) == true { found.append(id) }
        }
        if cache.count >= Self.cacheCapacity { cache.removeAll(keepingCapacity: true) }
        cache[key] = found
        return found
    }
}

extension Filter {
    /// Whether everything that starts as it wants matches.
    fileprivate var isPrefix: Bool {
        if case .prefix = pattern.shape { return !isRestricted }
        return false
    }
}
