package import Registers

/// What a reader gets to see: what it asks for, as far as it may have it. Whatever reads or fans out asks this, so that a
/// pattern which is wider than the grant yields exactly the granted part.
package struct Filter: Hashable, Sendable {
    package let pattern: Pattern
    /// What the pattern's matches have to fulfil besides; most often nothing.
    private let scope: Scope
    /// The same without any of it taken for granted; no part of what the filter is known by.
    private let whole: Scope
    /// ``ranges``, where they are not just the pattern's.
    private let narrowed: [KeyRange]?

    package init(_ pattern: Pattern, within scope: Scope = .everything) {
        self.pattern = pattern
        whole = scope
        self.scope = scope.remainder(within: pattern)
        narrowed = self.scope == .everything ? nil : Self.ranges(of: pattern, self.scope)
    }

    package static func == (left: Filter, right: Filter) -> Bool {
        left.pattern == right.pattern && left.scope == right.scope
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(pattern)
        hasher.combine(scope)
    }

    /// All matches are in these ranges, which are in the order of keys and have nothing in common.
    package var ranges: [KeyRange] { narrowed ?? [KeyRange(of: pattern)] }

    package func matches(_ key: Key) -> Bool {
        pattern.matches(key) && scope.admits(key)
    }

    /// ``matches(_:)`` made ready for many keys.
    package struct Matcher: Sendable {
        fileprivate let pattern: Pattern.Matcher
        fileprivate let scope: Scope

        package func matches(_ key: Key) -> Bool {
            pattern.matches(key) && scope.admits(key)
        }
    }

    package func makeMatcher() -> Matcher {
        Matcher(pattern: Pattern.Matcher(pattern), scope: scope)
    }

    /// What the rules leave out by more than that, to be asked of keys that match the pattern.
    package var remainder: Scope { scope }

    /// Whether the rules leave out anything in ``ranges`` by more than where keys begin.
    package var isRestricted: Bool { scope != .everything }

    /// Whether a key in ``ranges`` may be named to the reader. One that the pattern does not match may.
    package func mayName(_ key: Key) -> Bool { whole.admits(key) }

    /// What binds a cursor to this filter (FNV-1a, 32 bits: it guards against mistakes, not against malice).
    package var digest: UInt32 {
        var hash = Self.hash(0x811C_9DC5, pattern.text)
        for condition in scope.conditions {
            hash = Self.hash(hash, [0])
            for pattern in condition.patterns { hash = Self.hash(Self.hash(hash, [1]), pattern.text) }
        }
        return hash
    }

    private static func hash(_ start: UInt32, _ bytes: [UInt8]) -> UInt32 {
        bytes.reduce(start) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    }

    private static func ranges(of pattern: Pattern, _ scope: Scope) -> [KeyRange] {
        var ranges = [KeyRange(of: pattern)]
        for condition in scope.conditions {
            let allowed = condition.patterns.map(KeyRange.init(of:))
            ranges = Array(
                Set(ranges.flatMap { range in allowed.compactMap { range.intersection($0) } }))
        }
        // Whatever contains another comes before it.
        var separate: [KeyRange] = []
        for range in ranges.sorted(by: KeyRange.isOrdered) where separate.last?.contains(range) != true {
            separate.append(range)
        }
        return separate
    }
}

/// The keys that start with some bytes, or the one key that is these bytes.
package struct KeyRange: Hashable, Sendable {
    package let start: [UInt8]
    package let isExact: Bool

    package init(of pattern: Pattern) {
        switch pattern.shape {
        case .exact(let bytes): (start, isExact) = (bytes, true)
        case .prefix(let bytes), .general(let bytes): (start, isExact) = (bytes, false)
        }
    }

    /// In the order of their first keys, the greater of two first where those are the same.
    static func isOrdered(_ left: KeyRange, _ right: KeyRange) -> Bool {
        left.start == right.start
            ? !left.isExact && right.isExact : left.start.lexicographicallyPrecedes(right.start)
    }

    /// Two ranges of this kind have nothing in common, or one is a part of the other.
    func intersection(_ other: KeyRange) -> KeyRange? {
        contains(other) ? other : other.contains(self) ? self : nil
    }

    func contains(_ other: KeyRange) -> Bool {
        isExact ? self == other : other.start.starts(with: start)
    }
}
