package import Registers

/// The rows of the log of revisions that are to be deleted: those of changes that a later one has taken the place of. Readers pass over them by
/// themselves, so when it is done, and whether, matters to nobody but the disk.
///
/// They are gathered, and deleted in their order: neighbours in the log share its pages. (Deleted as they come, 16 of 16 are on pages of their
/// own.) In portions, so that no commit lasts for them.
package struct StaleRevisions: Sendable {
    /// From so many on they are deleted together with what is committed. Until then they wait until there is nothing else to do.
    private let manyStale: Int
    /// How many a commit deletes at least.
    private let leastInCommit: Int

    /// Replaced by the transaction under way.
    private var replaced: [Revision] = []
    /// Committed, as they came.
    private var gathered: [Revision] = []
    /// Committed, in their order: those behind `next` are still there.
    private var ordered: [Revision] = []
    private var next = 0
    /// How many of the ordered ones the transaction under way deletes.
    private var taken = 0

    package init(manyStale: Int = 16_384, leastInCommit: Int = 64) {
        self.manyStale = manyStale
        self.leastInCommit = leastInCommit
    }

    /// How many rows of the log are known to be stale.
    package var count: Int { gathered.count + ordered.count - next }

    /// A change is no more the latest of its register, if the transaction under way is committed.
    package mutating func replace(_ revision: Revision) { replaced.append(revision) }

    /// A row was found that has been stale since before this began.
    package mutating func found(_ revision: Revision) { gathered.append(revision) }

    /// What the transaction under way is to delete beside what it is for: as many as it replaces and more, so that it comes to an end.
    package mutating func takeBeside() -> ArraySlice<Revision> {
        if next == ordered.count, gathered.count < manyStale { return [] }
        return take(max(leastInCommit, 2 * replaced.count))
    }

    /// What a transaction for nothing else is to delete, in the order of the log.
    package mutating func take(_ limit: Int) -> ArraySlice<Revision> {
        if next == ordered.count {
            swap(&ordered, &gathered)
            gathered.removeAll(keepingCapacity: true)
            ordered.sort()
            next = 0
        }
        taken = min(limit, ordered.count - next)
        return ordered[next..<next + taken]
    }

    package mutating func committed() {
        gathered += replaced
        replaced.removeAll(keepingCapacity: true)
        next += taken
        taken = 0
    }

    package mutating func rolledBack() {
        replaced.removeAll(keepingCapacity: true)
        taken = 0
    }
}
