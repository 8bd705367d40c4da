import StarlingServer
import TestSupport
import Testing

struct CommitDelayTests {
    @Test("A write that comes alone is not waited with, also not after others that came alone")
    func alone() {
        var delay = CommitDelay()
        #expect(delay.wanted == 1)
        for _ in 0..<100 { delay.note(count: 1, time: 150_000) }
        #expect(delay.wanted == 1)
    }

    @Test("Where many come together, most of them are waited for, and soon no longer when they stop coming")
    func together() {
        var delay = CommitDelay()
        delay.note(count: 16, time: 200_000)
        #expect(delay.wanted == 12)
        var commits = 0
        while delay.wanted > 1 {
            delay.note(count: 1, time: 200_000)
            commits += 1
        }
        #expect(commits < 30)
    }

    @Test("After a burst, however great, writes that come alone are soon not waited with")
    func burst() {
        var delay = CommitDelay()
        delay.note(count: 4_096, time: 5_000_000)
        for _ in 0..<25 { delay.note(count: 1, time: 150_000) }
        #expect(delay.wanted == 1)
    }

    @Test("Neither how many are waited for nor how long ever grows beyond its bound", arguments: 0..<10)
    func bounds(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var delay = CommitDelay()
        for _ in 0..<1_000 {
            delay.note(
                count: Int.random(in: 0...10_000, using: &random),
                time: UInt64.random(in: 0...10_000_000_000, using: &random))
            #expect((1...32).contains(delay.wanted))
            #expect((0...250_000).contains(delay.patience))
        }
    }

    @Test("A commit of little time is not delayed by more than half of it")
    func patience() {
        var delay = CommitDelay()
        for _ in 0..<100 { delay.note(count: 16, time: 100_000) }
        #expect((49_000...50_000).contains(delay.patience))
    }
}
