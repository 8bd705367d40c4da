import StarlingServer
import TestSupport
import Testing

struct GatheringTests {
    @Test("A write that comes alone is not waited with, also not after others that came alone")
    func alone() {
        var gathering = Gathering()
        #expect(gathering.wanted == 1)
        for _ in 0..<100 { gathering.note(count: 1, time: 150_000) }
        #expect(gathering.wanted == 1)
    }

    @Test("Where many come together, most of them are waited for, and soon no longer when they stop coming")
    func together() {
        var gathering = Gathering()
        gathering.note(count: 16, time: 200_000)
        #expect(gathering.wanted == 12)
        var commits = 0
        while gathering.wanted > 1 {
            gathering.note(count: 1, time: 200_000)
            commits += 1
        }
        #expect(commits < 30)
    }

    @Test("After a burst, however great, writes that come alone are soon not waited with")
    func burst() {
        var gathering = Gathering()
        gathering.note(count: 4_096, time: 5_000_000)
        for _ in 0..<25 { gathering.note(count: 1, time: 150_000) }
        #expect(gathering.wanted == 1)
    }

    @Test("Neither how many are waited for nor how long ever grows beyond its bound", arguments: 0..<10)
    func bounds(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var gathering = Gathering()
        for _ in 0..<1_000 {
            gathering.note(
                count: Int.random(in: 0...10_000, using: &random),
                time: UInt64.random(in: 0...10_000_000_000, using: &random))
            #expect((1...32).contains(gathering.wanted))
            #expect((0...250_000).contains(gathering.patience))
        }
    }

    @Test("A commit of little time is not delayed by more than half of it")
    func patience() {
        var gathering = Gathering()
        for _ in 0..<100 { gathering.note(count: 16, time: 100_000) }
        #expect((49_000...50_000).contains(gathering.patience))
    }
}
