import Registers
import TestSupport
import Testing

struct ClockTests {
    private struct File: Decodable {
        struct Case: Decodable {
            var name: String
            var steps: [Step]
        }
        struct Step: Decodable {
            var tick: UInt64?
            var stamp: [UInt64]?
            var receive: [UInt64]?
        }
        var cases: [Case]
    }

    @Test("The clock issues what the vectors say")
    func vectors() throws {
        for vector in try Vectors.load("clocks", as: File.self).cases {
            var clock = HybridLogicalClock()
            for step in vector.steps {
                if let received = step.receive {
                    clock.receive(Stamp(milliseconds: received[0], counter: UInt16(received[1])))
                } else if let wall = step.tick, let expected = step.stamp {
                    let stamp = clock.tick(at: WallTime(milliseconds: wall))
                    #expect([stamp.milliseconds, UInt64(stamp.counter)] == expected, "\(vector.name)")
                }
            }
        }
    }

    @Test("Stamps only rise, however the wall clock jumps", arguments: 0..<10)
    func rises(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var clock = HybridLogicalClock(last: Stamp(milliseconds: 500))
        var last = clock.last
        for _ in 0..<2_000 {
            if Bool.random(using: &random) {
                let received = Stamp(rawValue: UInt64.random(in: 0...(2_000 << 16), using: &random))
                clock.receive(received)
                #expect(clock.last >= received)
            } else {
                let wall = UInt64.random(in: 0...1_000, using: &random)
                let stamp = clock.tick(at: WallTime(milliseconds: wall))
                #expect(stamp > last && stamp.milliseconds >= wall, "seed \(seed)")
            }
            #expect(clock.last >= last)
            last = clock.last
        }
    }
}
