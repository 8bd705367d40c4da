package import Registers

/// A pattern of a ``PatternIndex``.
package typealias PatternID = Int32

/// Finds the distinct patterns that a key matches: exact ones by hash, prefixes by trie, the others one by one, but only
/// those whose literal beginning the key shares. What a key matched is remembered until a pattern comes or goes.
package struct PatternIndex: Sendable {
    private struct Entry: Sendable {
        var pattern: Pattern
        var uses: Int
    }

    /// How many keys are remembered.
    private static let cacheCapacity = 8_192

    private var entries: [Entry?] = []
    private var free: [PatternID] = []
    private var ids: [Pattern: PatternID] = [:]
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

    package func pattern(_ id: PatternID) -> Pattern? { entries[Int(id)]?.pattern }

    /// Adds a use of `pattern`. Each call wants one of ``release(_:)``.
    package mutating func retain(_ pattern: Pattern) -> PatternID {
        if let id = ids[pattern] {
            entries[Int(id)]?.uses += 1
            return id
        }
        let id: PatternID
        if let reused = free.popLast() {
            id = reused
            entries[Int(id)] = Entry(pattern: pattern, uses: 1)
        } else {
            id = PatternID(entries.count)
            entries.append(Entry(pattern: pattern, uses: 1))
        }
        ids[pattern] = id
        cache.removeAll(keepingCapacity: true)
        switch pattern.shape {
        case .exact(let bytes): exact[Key(unchecked: bytes), default: []].append(id)
        case .prefix(let bytes): tries.prefixes.insert(id, at: bytes)
        case .general(let bytes): tries.candidates.insert(id, at: bytes)
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
        ids[entry.pattern] = nil
        cache.removeAll(keepingCapacity: true)
        switch entry.pattern.shape {
        case .exact(let bytes):
            let key = Key(unchecked: bytes)
            exact[key]?.removeAll { $0 == id }
            if exact[key]?.isEmpty == true { exact[key] = nil }
        case .prefix(let bytes): tries.prefixes.remove(id, at: bytes)
        case .general(let bytes): tries.candidates.remove(id, at: bytes)
        }
    }

    /// The patterns that `key` matches, in no particular order.
    package mutating func matches(_ key: Key) -> [PatternID] {
        if let found = cache[key] { return found }
        var found = exact[key] ?? []
        tries.prefixes.forEachPrefix(of: key.bytes) { found.append($0) }
        tries.candidates.forEachPrefix(of: key.bytes) { id in
            if entries[Int(id)]?.pattern.matches(key) == true { found.append(id) }
        }
        if cache.count >= Self.cacheCapacity { cache.removeAll(keepingCapacity: true) }
        cache[key] = found
        return found
    }
}
