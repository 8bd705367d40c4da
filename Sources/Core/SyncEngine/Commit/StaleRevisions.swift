package import Registers

/// The rows of the log of revisions that are to be deleted: those of changes that a later one has taken the place of. Readers pass over them by
/// themselves, so when it is done, and whether, matters to nobody but the disk.
///
/// They are gathered, and deleted in their order: neighbours in the log share its pages. (Deleted as they come, each of them is on a page of
/// its own.) In portions, and merged from runs that are sorted by themselves, so that no commit lasts for them.
package struct StaleRevisions: Sendable {
    /// How many are sorted at once.
    private static let runLength = 1_024

    /// From so many on they are deleted together with what is committed. Until then they wait until there is nothing else to do.
    private let manyStale: Int
    /// How many a commit deletes at least.
    private let leastInCommit: Int

    /// Replaced by the transaction under way.
    private var replaced: [Revision] = []
    /// Committed, as they came.
    private var gathered: [Revision] = []
    /// Committed, each in its order.
    private var sorted: [[Revision]] = []
    /// What is being deleted.
    private var merge = Merge()
    /// What the transaction under way deletes.
    private var taken: [Revision] = []

    package init(manyStale: Int = 16_384, leastInCommit: Int = 64) {
        self.manyStale = manyStale
        self.leastInCommit = leastInCommit
    }

    /// How many rows of the log are known to be stale.
    package var count: Int { waiting + merge.count + taken.count }

    private var waiting: Int { gathered.count + sorted.count * Self.runLength }

    /// A change is no more the latest of its register, if the transaction under way is committed.
    package mutating func replace(_ revision: Revision) { replaced.append(revision) }

    /// A row was found that has been stale since before this began.
    package mutating func found(_ revision: Revision) { gather(revision) }

    private mutating func gather(_ revision: Revision) {
        gathered.append(revision)
        guard gathered.count == Self.runLength else { return }
        gathered.sort()
        sorted.append(gathered)
        gathered.removeAll(keepingCapacity: true)
    }

    /// What the transaction under way is to delete beside what it is for: as many as it replaces and more, so that it comes to an end.
    package mutating func takeBeside() -> [Revision] {
        if merge.count == 0, waiting < manyStale { return [] }
        return take(max(leastInCommit, 2 * replaced.count))
    }

    /// What a transaction for nothing else is to delete, in the order of the log.
    package mutating func take(_ limit: Int) -> [Revision] {
        assert(taken.isEmpty, "a transaction takes once")
        if merge.count == 0 {
            merge = Merge(sorted + [gathered.sorted()])
            sorted.removeAll()
            gathered.removeAll(keepingCapacity: true)
        }
        while taken.count < limit, let next = merge.next() { taken.append(next) }
        return taken
    }

    package mutating func committed() {
        for revision in replaced { gather(revision) }
        replaced.removeAll(keepingCapacity: true)
        taken.removeAll(keepingCapacity: true)
    }

    package mutating func rolledBack() {
        replaced.removeAll(keepingCapacity: true)
        for revision in taken { gather(revision) }
        taken.removeAll(keepingCapacity: true)
    }
}

/// Several runs as one in order.
private struct Merge: Sendable {
    private var runs: [ArraySlice<Revision>] = []
    private(set) var count = 0

    init() {}

    init(_ runs: [[Revision]]) {
        self.runs = runs.filter { !$0.isEmpty }.map { $0[...] }
        count = runs.reduce(0) { $0 + $1.count }
    }

    mutating func next() -> Revision? {
        var least: Int?
        for index in runs.indices {
            guard let first = runs[index].first else { continue }
            if let known = least, let other = runs[known].first, other <= first { continue }
            least = index
        }
        guard let least else { return nil }
        count -= 1
        return runs[least].removeFirst()
    }
}
