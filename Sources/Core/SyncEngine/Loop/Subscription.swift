import Access
import Registers
import SyncProtocol

/// One subscription: what a connection wants to see, and how far it has got.
struct Subscription {
    enum State: Equatable {
        /// Reads its first snapshot in the order of keys. `after` is the last key read, `base` the head at the start.
        case snapshot(after: Key?, base: UInt64)
        /// Reads what changed after its position, in the order of revisions.
        case catchingUp
        /// Gets each batch as it is committed.
        case live
    }

    /// What is to be known of a subscription while it is behind. Classes, since most subscriptions are not.
    enum Lag {
        case none
        /// It has not been live yet.
        case snapshot(SnapshotCoverage)
        case demoted(Demotion)
    }

    final class Demotion {
        /// What ``Shard/matched`` said, less what was dropped from the connection's queue.
        let matched: UInt64
        /// How many changes it was sent since.
        var sent: UInt64 = 0

        init(matched: UInt64) { self.matched = matched }
    }

    let id: RequestID
    let connection: ConnectionID
    /// What it gets: what matches its pattern and may be read.
    let filter: Filter
    // From here on in an order that leaves no gaps: there may be millions.
    var state: State
    let wantsEcho: Bool
    let wantsCursors: Bool
    let wantsConflated: Bool
    let generation: UInt32
    /// The last key that was read and may be named: in a first snapshot, where to resume from.
    var lastNamed: Key?
    /// Everything up to this revision has been handed over. Not kept up while live: it is the event loop's then.
    var position: UInt64
    /// The revision to be passed before `synced` is sent; nil afterwards.
    var syncTarget: UInt64?
    let patternID: PatternID
    let matchingCost: Int32
    /// The updates sent since `subscribed`, for `synced`.
    var count: UInt64 = 0
    var lag = Lag.none
    /// The revision of the last cursor sent while live.
    var noticedRevision: UInt64 = 0

    /// While it is behind by being slow.
    var demotion: Demotion? {
        if case .demoted(let demotion) = lag { demotion } else { nil }
    }

    /// What of its first snapshot it has been sent; nil where it has been live since, or began without one.
    var coverage: SnapshotCoverage? {
        if case .snapshot(let coverage) = lag { coverage } else { nil }
    }

    /// The place to resume from, when everything before `delivered` has been handed over to live subscriptions.
    func cursor(epoch: Epoch, delivered: UInt64) -> Cursor {
        let digest = filter.digest
        switch state {
        case .snapshot(let after, let base):
            let key = after.map(filter.mayName) == true ? after : lastNamed
            return Cursor(epoch: epoch, revision: base, digest: digest, lastKey: key)
        case .catchingUp: return Cursor(epoch: epoch, revision: position, digest: digest)
        case .live: return Cursor(epoch: epoch, revision: max(delivered, position), digest: digest)
        }
    }

    /// What to read next; nil while live.
    var nextRead: PageRequest.Position? {
        switch state {
        case .snapshot(let after, let base): .keys(after: after, base: base)
        case .catchingUp: .changes(after: position)
        case .live: nil
        }
    }
}
