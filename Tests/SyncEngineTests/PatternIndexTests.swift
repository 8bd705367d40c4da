import Access
import Registers
import SyncEngine
import TestSupport
import Testing

struct PatternIndexTests {
    @Test("The index finds exactly the patterns that match, as they come and go", arguments: 0..<20)
    func agrees(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var index = PatternIndex()
        var held: [(pattern: Pattern, id: PatternID)] = []
        for _ in 0..<400 {
            if held.isEmpty || Int.random(in: 0..<3, using: &random) > 0 {
                guard let pattern = try? Pattern(random.text("ab:*?", upTo: 6)) else { continue }
                held.append((pattern, index.retain(Filter(pattern))))
            } else {
                let gone = held.remove(at: Int.random(in: 0..<held.count, using: &random))
                index.release(gone.id)
            }
            guard let key = try? Key(random.text("ab:", upTo: 6)) else { continue }
            let expected = Set(held.filter { $0.pattern.matches(key) }.map(\.id))
            #expect(Set(index.matches(key)) == expected, "seed \(seed): \(key)")
            #expect(index.matches(key).count == expected.count)
        }
        for (_, id) in held { index.release(id) }
        #expect(index.count == 0)
        #expect(try index.matches(Key("a")).isEmpty)
    }

    @Test("The same pattern is kept once, for as long as it is used")
    func uses() throws {
        var index = PatternIndex()
        let pattern = try Pattern("a:*")
        let first = index.retain(Filter(pattern))
        let second = index.retain(Filter(pattern))
        #expect(first == second && index.count == 1)
        index.release(first)
        #expect(try index.matches(Key("a:b")) == [second])
        index.release(second)
        #expect(try index.matches(Key("a:b")) == [])
    }
}
