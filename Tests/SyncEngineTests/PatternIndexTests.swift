import Access
import Registers
import SyncEngine
import TestSupport
import Testing

struct PatternIndexTests {
    private static func found(_ key: Key, in index: inout PatternIndex) -> [PatternID] {
        var found: [PatternID] = []
        index.findMatches(of: key, into: &found)
        return found
    }

    /// A pattern as people write them: segments that are names or wildcards, or both.
    private static func segments(_ random: inout SeededGenerator) -> String {
        let parts = ["a", "b", "ab", "*", "a*", "*b", "?", "**", ""]
        return (0..<Int.random(in: 1...5, using: &random))
            .map { _ in parts.randomElement(using: &random) ?? "" }.joined(separator: ":")
    }

    @Test("The index finds exactly what matches and may be read, each once, as patterns come and go", arguments: 0..<40)
    func agrees(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var index = PatternIndex()
        var held: [(filter: Filter, id: PatternID)] = []
        for _ in 0..<400 {
            if held.isEmpty || Int.random(in: 0..<3, using: &random) > 0 {
                let text =
                    Bool.random(using: &random) ? random.text("ab:*?\\", upTo: 7) : Self.segments(&random)
                guard let pattern = try? Pattern(text) else { continue }
                let granted = (0..<3).compactMap { _ in try? Pattern(random.text("ab:*", upTo: 4)) }
                let isFree = Int.random(in: 0..<4, using: &random) > 0
                let filter = Filter(pattern, within: isFree ? .everything : Scope(matching: granted))
                held.append((filter, index.retain(filter)))
            } else {
                let gone = held.remove(at: Int.random(in: 0..<held.count, using: &random))
                index.release(gone.id)
            }
            for _ in 0..<3 {
                guard let key = try? Key(random.text("ab:*", upTo: 9)) else { continue }
                let expected = Set(held.filter { $0.filter.matches(key) }.map(\.id))
                let found = Self.found(key, in: &index)
                #expect(Set(found) == expected, "seed \(seed): \(key)")
                #expect(found.count == expected.count, "seed \(seed): \(key)")
            }
        }
        for (_, id) in held { index.release(id) }
        #expect(index.count == 0 && index.isEmptied)
        #expect(try Self.found(Key("a"), in: &index).isEmpty)
    }

    @Test("The same pattern is kept once, for as long as it is used")
    func uses() throws {
        var index = PatternIndex()
        let pattern = try Pattern("a:*")
        let first = index.retain(Filter(pattern))
        let second = index.retain(Filter(pattern))
        #expect(first == second && index.count == 1)
        index.release(first)
        #expect(try Self.found(Key("a:b"), in: &index) == [second])
        index.release(second)
        #expect(try Self.found(Key("a:b"), in: &index) == [])
    }

    @Test(
        "Only patterns that could match a key in several ways have to be tried one by one",
        arguments: [
            ("a", true), ("*", true), ("a:*", true), ("**", true), ("a:*:c", true), ("a*:c", true), ("*:b:*", true),
            ("*:*:*:d", true), ("a\\*:*", true), ("a:b**", true),
            ("a?", false), ("a:*c", false), ("**:c", false), ("a:**:c", false), ("*a*", false),
        ])
    func paths(text: String, hasPath: Bool) throws {
        #expect((try Pattern(text).path != nil) == hasPath)
    }

    @Test("What patterns cost: nothing for those that most people use, and most for those that are tried one by one")
    func costs() throws {
        for (text, cost) in [
            ("a", 0), ("*", 0), ("a:*", 0), ("**", 0), ("a:*:c", 0), ("**:status", 0), ("a:*:c:*", 0), ("a:*:c:*:d", 1),
            ("*:*:*:d", 2), ("a?", 8), ("a:**:c", 8), ("*x", 8), ("**a?" + String(repeating: "b", count: 70), 16),
        ] {
            #expect(Filter(try Pattern(text)).matchingCost == cost, "\(text)")
        }
    }

    @Test(
        "A grant is asked once for a key, however many patterns are narrowed by it, and gives the right answer for each"
    )
    func scopes() throws {
        var index = PatternIndex()
        let scope = Scope(matching: try ["a:?:*", "b:*"].map { try Pattern($0) })
        let ids = try (0..<100).map { index.retain(Filter(try Pattern("*:\($0 % 10):*:\($0)"), within: scope)) }
        let key = try Key("a:1:x:11")
        #expect(Self.found(key, in: &index) == [ids[11]])
        #expect(Self.found(try Key("a:11:x:11"), in: &index).isEmpty)
        #expect(Self.found(try Key("b:1:x:11"), in: &index) == [ids[11]])
        for id in ids { index.release(id) }
        #expect(index.isEmptied)
    }
}
