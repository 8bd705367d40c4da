package import Registers

/// A set of keys, as access rules describe it: all that match one pattern of each list.
///
/// One list is what a rule says; a second one narrows it, as the claims of a JSON Web Token do to their issuer's rule.
package struct Scope: Hashable, Sendable {
    /// Patterns of which a key has to match one.
    struct Condition: Hashable, Sendable {
        let patterns: [Pattern]
        private let matchers: [Pattern.Matcher]

        init(_ patterns: [Pattern]) {
            self.patterns = patterns
            matchers = patterns.map(Pattern.Matcher.init)
        }

        func admits(_ key: Key) -> Bool { matchers.contains { $0.matches(key) } }

        /// As ``Scope/matchingCost``.
        var cost: Int { matchers.reduce(0) { $0 + $1.cost } }

        static func == (left: Condition, right: Condition) -> Bool { left.patterns == right.patterns }

        func hash(into hasher: inout Hasher) { hasher.combine(patterns) }
    }

    /// Each list admits what one of its patterns matches. Empty: every key.
    private(set) var conditions: [Condition]

    /// Every key.
    package static let everything = Scope(conditions: [])
    /// No key.
    package static let nothing = Scope(matching: [])

    private init(conditions: [Condition]) {
        self.conditions = conditions
    }

    /// What one of `patterns` matches.
    package init(matching patterns: [Pattern]) {
        // In one order, so that equal rules are equal scopes.
        let sorted = Set(patterns).sorted { $0.text.lexicographicallyPrecedes($1.text) }
        conditions = sorted.contains { $0.shape == .prefix([]) } ? [] : [Condition(sorted)]
    }

    /// What is in both.
    package func narrowed(by other: Scope) -> Scope {
        var all = conditions
        for condition in other.conditions where !all.contains(condition) { all.append(condition) }
        return Scope(conditions: all)
    }

    package func admits(_ key: Key) -> Bool {
        conditions.allSatisfy { $0.admits(key) }
    }

    /// What asking costs at most, beside a comparison for each pattern: in steps for each byte of a key.
    package var matchingCost: Int { conditions.reduce(0) { $0 + $1.cost } }

    /// Whether it may have anything that `pattern` matches, by where keys begin.
    package func mayMeet(_ pattern: Pattern) -> Bool {
        let range = KeyRange(of: pattern)
        return conditions.allSatisfy { $0.patterns.contains { range.intersection(KeyRange(of: $0)) != nil } }
    }

    /// This scope without what every match of `pattern` fulfils anyway, as far as that is plain to see.
    package func remainder(within pattern: Pattern) -> Scope {
        Scope(conditions: conditions.filter { !$0.patterns.contains { Self.covers($0, pattern) } })
    }

    /// Whether `rule` surely matches all that `pattern` does.
    private static func covers(_ rule: Pattern, _ pattern: Pattern) -> Bool {
        if rule == pattern { return true }
        if case .exact(let bytes) = pattern.shape, let key = try? Key(bytes) { return rule.matches(key) }
        guard case .prefix(let bytes) = rule.shape else { return false }
        return pattern.literalPrefix.starts(with: bytes)
    }
}
