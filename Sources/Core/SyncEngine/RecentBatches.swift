import NIOCore
import Registers

/// The batches that were delivered while pages were being read, kept for as long as a page may need them: a page was read
/// at some head, and what changed between that head and now must neither be lost nor go back in time.
struct RecentBatches {
    private var batches = Queue<CommittedBatch>()
    /// The revision delivered when each page now under way was asked for, in rising order, with a count of such pages.
    private var starts = Queue<(revision: UInt64, pages: Int)>()

    var isEmpty: Bool { batches.isEmpty }

    /// Notes that a page was asked for when `delivered` was the latest revision delivered.
    mutating func pageAsked(at delivered: UInt64) {
        if let last = starts.last, last.revision == delivered {
            starts[starts.count - 1].pages += 1
        } else {
            starts.append((delivered, 1))
        }
    }

    /// Notes that a page asked for at `start` has been dealt with.
    mutating func pageDone(askedAt start: UInt64) {
        for offset in 0..<starts.count where starts[offset].revision == start {
            starts[offset].pages -= 1
            break
        }
        while let first = starts.first, first.pages == 0 { _ = starts.popFirst() }
        forget()
    }

    /// Notes that `batch` has been delivered.
    mutating func delivered(_ batch: CommittedBatch) {
        if !starts.isEmpty { batches.append(batch) }
    }

    private mutating func forget() {
        let needed = starts.first?.revision ?? .max
        while let batch = batches.first, batch.head <= needed { _ = batches.popFirst() }
    }

    /// Where a change is.
    struct Place {
        let batch: CommittedBatch
        let change: Int
        let revision: UInt64

        /// The change's update.
        var frame: ByteBuffer { batch.frames(change..<(change + 1)) }
    }

    /// The latest change of each key after `revision`, by key; transient broadcasts are none.
    func latestChanges(after revision: UInt64) -> [Key: Place] {
        var latest: [Key: Place] = [:]
        for offset in 0..<batches.count where batches[offset].head > revision {
            let batch = batches[offset]
            for (index, change) in batch.changes.enumerated() {
                guard let changed = change.revision, changed > revision else { continue }
                latest[change.key] = Place(batch: batch, change: index, revision: changed)
            }
        }
        return latest
    }
}
