import SyncEngine
import TestSupport
import Testing

struct SmallDictionaryTests {
    @Test("It holds what a dictionary does, however many there are", arguments: 0..<20)
    func agrees(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var small = SmallDictionary<Int, Int>()
        var plain: [Int: Int] = [:]
        for step in 0..<300 {
            let key = Int.random(in: 0..<4, using: &random)
            let value = Bool.random(using: &random) ? step : nil
            small[key] = value
            plain[key] = value
            #expect((0..<5).allSatisfy { small[$0] == plain[$0] })
            #expect(small.count == plain.count && small.isEmpty == plain.isEmpty)
            #expect(small.values.sorted() == plain.values.sorted())
        }
    }
}
