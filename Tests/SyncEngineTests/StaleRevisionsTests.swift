import Registers
import SyncEngine
import TestSupport
import Testing

/// What of the log of revisions is deleted, and when.
struct StaleRevisionsTests {
    private func commit(_ stale: inout StaleRevisions, replacing revisions: some Sequence<UInt64>) -> [UInt64] {
        for revision in revisions { stale.replace(Revision(revision)) }
        let taken = stale.takeBeside().map(\.rawValue)
        stale.committed()
        return taken
    }

    @Test("They are gathered until there are many, and then deleted in the order of the log, faster than more come")
    func ordered() {
        var random = SeededGenerator(seed: 1)
        var stale = StaleRevisions(manyStale: 3_000, leastInCommit: 64)
        var left = (1...20_000 as ClosedRange<UInt64>).shuffled(using: &random)
        var gathered: Set<UInt64> = []
        var deleted: [UInt64] = []
        var last: UInt64 = 0
        var rounds = 0
        while !left.isEmpty {
            let replaced = Array(left.prefix(100))
            left.removeFirst(replaced.count)
            let wasMany = gathered.count >= 3_000
            let taken = commit(&stale, replacing: replaced)
            gathered.formUnion(replaced)
            #expect(taken == taken.sorted() && taken.count <= 200 && gathered.isSuperset(of: taken))
            if taken.first.map({ $0 < last }) == true { rounds += 1 }
            #expect(wasMany || !deleted.isEmpty || taken.isEmpty, "too early")
            if let end = taken.last { last = end }
            gathered.subtract(taken)
            deleted += taken
            #expect(stale.count == gathered.count)
            // What comes while some are deleted is half of those.
            #expect(gathered.count < 7_000)
        }
        #expect((1...8).contains(rounds), "each run over the log takes thousands, in order")
        while stale.count > 0 {
            deleted += stale.take(512).map(\.rawValue)
            stale.committed()
        }
        #expect(deleted.sorted() == Array(1...20_000), "each once")
    }

    @Test("A transaction that is rolled back has replaced nothing, and deleted nothing")
    func rolledBack() {
        var stale = StaleRevisions(manyStale: 2, leastInCommit: 1)
        _ = commit(&stale, replacing: [5, 3])
        stale.replace(9)
        #expect(stale.takeBeside() == [3, 5])
        stale.rolledBack()
        #expect(stale.count == 2)
        #expect(stale.take(9) == [3, 5])
        stale.committed()
        #expect(stale.count == 0 && stale.take(9) == [])
    }
}
