import Access
import NIOCore
import Registers

/// The commits that were delivered last: all that fit into so many bytes, and those that pages under way may need. A page was
/// read at some head, and what changed between that head and now must neither be lost nor go back in time.
///
/// Who is only a little behind is served from here, and costs the database nothing: thousands who come back at once are, most
/// often.
struct RecentCommits {
    /// How many changes are looked at for one subscription. Beyond that the database is asked, in a thread of its own.
    static let maximumScan = 2_048

    private var commits = Queue<CommittedChanges>()
    /// How many commits were ever taken off the front of these.
    private var forgotten = 0
    /// Their changes that have a revision, in its order: side by side, so that looking at a hundred of them is fast.
    private var changes: [Change] = []
    /// How many at the front of the changes are of forgotten commits.
    private var forgottenChanges = 0
    /// Every change after this revision that was delivered is here.
    private var base: Revision
    /// The revision delivered last.
    private var head: Revision
    /// What the commits take, in bytes, and how much of that is kept for its own sake.
    private var size = 0
    private let capacity: Int
    /// The revision delivered when each page now under way was asked for, in rising order, with a count of such pages.
    private var starts = Queue<(revision: Revision, pages: Int)>()

    private struct Change {
        let key: Key
        let revision: Revision
        /// How many commits there were before its own, ever.
        let commit: Int
        /// Its place in that.
        let place: Int
    }

    /// - Parameter head: the latest change before all commits to come.
    init(head: Revision, capacity: Int) {
        base = head
        self.head = head
        self.capacity = capacity
    }

    /// Whether no page is under way.
    var isUnneeded: Bool { starts.isEmpty }

    /// Notes that a page was asked for when `delivered` was the latest revision delivered.
    mutating func pageAsked(at delivered: Revision) {
        if let last = starts.last, last.revision == delivered {
            starts[starts.count - 1].pages += 1
        } else {
            starts.append((delivered, 1))
        }
    }

    /// Notes that a page asked for at `start` has been dealt with.
    mutating func pageDone(askedAt start: Revision) {
        for offset in 0..<starts.count where starts[offset].revision == start {
            starts[offset].pages -= 1
            break
        }
        while let first = starts.first, first.pages == 0 { _ = starts.popFirst() }
        forget()
    }

    /// Notes that `commit` has been delivered.
    mutating func delivered(_ commit: CommittedChanges) {
        // Whatever has passed by without being delivered is not here.
        if commit.changes.isEmpty, commit.head > head { base = commit.head }
        head = commit.head
        guard !commit.changes.isEmpty else { return }
        for (place, change) in commit.changes.enumerated() {
            guard let revision = change.revision else { continue }
            changes.append(
                Change(key: change.key, revision: revision, commit: forgotten + commits.count, place: place))
        }
        commits.append(commit)
        size += commit.size
        forget()
    }

    private mutating func forget() {
        let needed = starts.first?.revision
        while size > capacity, let commit = commits.first, needed.map({ commit.head <= $0 }) ?? true {
            _ = commits.popFirst()
            forgotten += 1
            size -= commit.size
            base = commit.head
        }
        while forgottenChanges < changes.count, changes[forgottenChanges].commit < forgotten { forgottenChanges += 1 }
        if forgottenChanges == changes.count {
            changes.removeAll(keepingCapacity: changes.count <= 64)
            forgottenChanges = 0
        } else if forgottenChanges >= 64, forgottenChanges * 2 >= changes.count {
            changes.removeFirst(forgottenChanges)
            forgottenChanges = 0
        }
    }

    /// Where a change is.
    struct Place {
        let commit: CommittedChanges
        let change: Int
        let revision: Revision

        var key: Key { commit.changes[change].key }
        /// The change's update.
        var frame: ByteBuffer { commit.frames(change..<(change + 1)) }
        /// Of the update, in bytes.
        var size: Int { commit.changes[change].end - commit.changes[change].start }
    }

    /// The latest change of each key after `revision`, by key; transient broadcasts are none.
    func latestChanges(after revision: Revision) -> [Key: Place] {
        var latest: [Key: Place] = [:]
        for index in firstChange(after: revision)..<changes.count { latest[changes[index].key] = place(of: index) }
        return latest
    }

    /// The latest change after `revision` of each key that `filter` matches, in the order of revisions.
    ///
    /// - Parameter looks: how many changes may be looked at; what were is taken from it.
    /// - Returns: nil where not all of them are here, or there are too many changes to look at.
    func changes(after revision: Revision, matching filter: Filter, looks: inout Int) -> [Place]? {
        guard revision >= base else { return nil }
        let first = firstChange(after: revision)
        guard changes.count - first <= min(looks, Self.maximumScan) else { return nil }
        looks -= changes.count - first + 1
        let prefix = filter.pattern.literalPrefix
        let matcher = filter.makeMatcher()
        var found: [Int] = []
        // Most changes are none of the filter's: that is seen by their first bytes, without a reference counted.
        changes.withUnsafeBufferPointer { changes in
            for index in first..<changes.count
            where changes[index].key.withBytes({ $0.starts(withBytes: prefix.span) })
                && matcher.matches(changes[index].key)
            {
                found.append(index)
            }
        }
        if found.count > 1 {
            var seen: Set<Key> = []
            found = found.reversed().filter { seen.insert(changes[$0].key).inserted }.reversed()
        }
        return found.map { place(of: $0) }
    }

    private func place(of index: Int) -> Place {
        let change = changes[index]
        return Place(commit: commits[change.commit - forgotten], change: change.place, revision: change.revision)
    }

    /// The place of the first change after `revision`.
    private func firstChange(after revision: Revision) -> Int {
        var range = forgottenChanges..<changes.count
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            range =
                changes[middle].revision > revision
                ? range.lowerBound..<middle : (middle + 1)..<range.upperBound
        }
        return range.lowerBound
    }
}

extension CommittedChanges {
    /// What it takes of the memory, in bytes, give or take.
    fileprivate var size: Int { changes.reduce(frames.readableBytes + 256) { $0 + 168 + $1.key.record.count } }
}
