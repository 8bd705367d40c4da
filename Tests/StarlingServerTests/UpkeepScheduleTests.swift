import Registers
import Testing

@testable import StarlingServer

struct UpkeepScheduleTests {
    private let start = ContinuousClock.now

    private func schedule(retention: UInt64 = 1_000_000, hasFailed: Bool = false) -> UpkeepSchedule {
        UpkeepSchedule(retention: retention, hasFailed: hasFailed, now: start)
    }

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    @Test("It sleeps until something expires or is due, and never for more than a second")
    func pauses() {
        var schedule = schedule()
        #expect(schedule.pause(until: nil, wallClock: 5_000, now: at(0)) == 1_000)
        #expect(schedule.pause(until: nil, wallClock: 5_000, now: at(400)) == 600)
        #expect(schedule.pause(until: 5_010, wallClock: 5_000, now: at(0)) == 10)
        #expect(schedule.pause(until: 5_000, wallClock: 5_000, now: at(0)) == 0)
        #expect(schedule.pause(until: 4_000, wallClock: 5_000, now: at(0)) == 0)
        #expect(schedule.pause(until: 9_000_000, wallClock: 5_000, now: at(1_500)) == 0)
        schedule.collected(0, now: at(1_500))
        #expect(schedule.pause(until: 9_000_000, wallClock: 5_000, now: at(1_500)) == 0)
        _ = schedule.takeLook(at(1_500))
        #expect(schedule.pause(until: 9_000_000, wallClock: 5_000, now: at(1_500)) == 1_000)
    }

    @Test("A disk that has failed is probed at once, then every second, and no more once it works")
    func probes() {
        var schedule = schedule()
        #expect(!schedule.isProbeDue(at(0)))
        schedule.noteCommit(hasFailed: true, now: at(10))
        #expect(schedule.isProbeDue(at(10)))
        #expect(schedule.pause(until: nil, wallClock: 0, now: at(10)) == 0)
        schedule.probed(hasFailed: true, now: at(10))
        #expect(!schedule.isProbeDue(at(1_009)) && schedule.isProbeDue(at(1_010)))
        // Another failure puts nothing off, and brings nothing forward.
        schedule.noteCommit(hasFailed: true, now: at(500))
        #expect(!schedule.isProbeDue(at(1_009)) && schedule.isProbeDue(at(1_010)))
        schedule.noteCommit(hasFailed: false, now: at(1_020))
        #expect(!schedule.isProbeDue(at(9_000)))
        #expect(self.schedule(hasFailed: true).isProbeDue(at(0)))
    }

    @Test(
        "The log is cleaned where nobody has written for a while, at once while there is more, and never on a disk that fails"
    )
    func cleaning() {
        var schedule = schedule()
        #expect(!schedule.isCleaningDue(at(99)) && schedule.isCleaningDue(at(100)))
        #expect(schedule.pause(until: nil, wallClock: 0, now: at(40), hasStale: true) == 60)
        #expect(schedule.pause(until: nil, wallClock: 0, now: at(40)) == 960)
        schedule.noteRequests(at(90))
        #expect(!schedule.isCleaningDue(at(189)) && schedule.isCleaningDue(at(190)))
        #expect(schedule.pause(until: nil, wallClock: 0, now: at(190), hasStale: true) == 0)
        schedule.noteCommit(hasFailed: true, now: at(200))
        schedule.probed(hasFailed: true, now: at(200))
        #expect(!schedule.isCleaningDue(at(900)))
        #expect(schedule.pause(until: nil, wallClock: 0, now: at(900), hasStale: true) == 100)
    }

    @Test("The files are looked at every second")
    func looks() {
        var schedule = schedule()
        func look(_ milliseconds: Int) -> Bool { schedule.takeLook(at(milliseconds)) }
        #expect(look(999) == false)
        #expect(look(1_000) == true)
        #expect(look(1_999) == false)
        #expect(look(2_000) == true)
    }

    @Test(
        "Tombstones are looked for a second after the start, at once where there were many, else now and then",
        arguments: [
            (0 as UInt64, 1_000), (1_000_000, 60_000), (20_000, 5_000),
        ])
    func collections(retention: UInt64, pause: Int) {
        var schedule = schedule(retention: retention)
        #expect(!schedule.isCollectionDue(at(999)) && schedule.isCollectionDue(at(1_000)))
        schedule.collected(1_000, now: at(1_000))
        #expect(schedule.isCollectionDue(at(1_000)))
        schedule.collected(0, now: at(1_000))
        #expect(!schedule.isCollectionDue(at(999 + pause)) && schedule.isCollectionDue(at(1_000 + pause)))
    }
}
