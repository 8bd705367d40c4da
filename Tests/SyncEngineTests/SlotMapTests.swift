import TestSupport
import Testing

@testable import SyncEngine

struct SlotMapTests {
    @Test(
        "It has what a dictionary with the same slots has, and gives left slots out again",
        arguments: 0..<10 as Range<UInt64>)
    func model(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var map = SlotMap<Int>()
        var model: [Int32: Int] = [:]
        /// The most that there ever were: no more slots are needed.
        var most = 0
        for step in 0..<500 {
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                let slot = map.insert { Int($0) * 1_000 + step }
                #expect(model[slot] == nil && slot <= most)
                model[slot] = Int(slot) * 1_000 + step
            case 1:
                guard let slot = model.keys.sorted().randomElement(using: &random) else { continue }
                map.remove(slot)
                model[slot] = nil
            default:
                guard let slot = model.keys.sorted().randomElement(using: &random) else { continue }
                map[slot] += 1
                model[slot]? += 1
            }
            #expect(map.count == model.count)
            most = max(most, model.count)
        }
        #expect(Array(map.slots) == model.keys.sorted())
        #expect(Array(map.values) == model.sorted { $0.key < $1.key }.map(\.value))
        for slot in 0..<600 as Range<Int32> { #expect(map.find(slot) == model[slot]) }
    }

    @Test("A slot that nobody has traps, where it was to be known")
    func traps() async {
        await #expect(processExitsWith: .failure) { _ = SlotMap<Int>()[0] }
        await #expect(processExitsWith: .failure) {
            var map = SlotMap<Int>()
            let slot = map.insert(1)
            map.remove(slot)
            map.remove(slot)
        }
        await #expect(processExitsWith: .failure) {
            var map = SlotMap<Int>()
            let slot = map.insert(1)
            map.remove(slot)
            map[slot] += 1
        }
    }
}
