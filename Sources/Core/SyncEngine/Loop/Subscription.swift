import Access
import Registers
import SyncProtocol

/// One subscription: what a connection wants to see, and how far it has got. It reads its first snapshot by key, then what changed meanwhile by
/// revision, and then is live: it gets what is committed. One whose connection is a slow consumer goes back to reading by revision.
struct Subscription {
    enum State: Equatable {
        /// Reads its first snapshot in the order of keys. `after` is the last key read, `base` the head at the start.
        case snapshot(after: Key?, base: Revision)
        /// Reads what changed after its position, in the order of revisions.
        case catchingUp
        /// Gets each commit's changes.
        case live
    }

    /// What is to be known of a subscription while it is behind. Classes, since most subscriptions are not.
    private enum Lag {
        case none
        /// It has not been live yet.
        case snapshot(SnapshotCoverage)
        case demoted(Demotion)
    }

    final class Demotion {
        /// What ``Fanout/demoted(_:dropped:)`` has said.
        let matched: UInt64
        /// How many changes it was sent since.
        fileprivate(set) var sent: UInt64 = 0

        init(matched: UInt64) { self.matched = matched }
    }

    let id: RequestID
    let connection: ConnectionID
    /// What it gets: what matches its pattern and may be read.
    let filter: Filter
    // From here on in an order that leaves no gaps: there may be millions.
    private(set) var state: State
    let wantsEcho: Bool
    let wantsCursors: Bool
    let wantsConflated: Bool
    let generation: UInt32
    /// The last key that was read and may be named: in a first snapshot, where to resume from.
    private var lastNamed: Key?
    /// Everything up to this revision has been handed over. Not kept up while live: it is the event loop's then.
    private(set) var position: Revision
    /// The revision to be passed before `synced` is sent; nil afterwards.
    private var syncTarget: Revision?
    let patternID: PatternID
    let matchingCost: Int32
    /// The updates sent since `subscribed`, for `synced`.
    private(set) var count: UInt64 = 0
    private var lag = Lag.none
    /// The revision of the last cursor sent while live.
    private var noticedRevision: Revision = 0

    /// - Parameters:
    ///   - start: where it begins; if not with a snapshot, behind `position`.
    ///   - syncTarget: what was delivered last when it came.
    init(
        _ request: ClientMessage.Subscribe, _ filter: Filter, of connection: ConnectionID, generation: UInt32,
        start: State, position: Revision, syncTarget: Revision, patternID: PatternID, matchingCost: Int
    ) {
        id = request.id
        self.connection = connection
        self.filter = filter
        state = start
        wantsEcho = request.wantsEcho
        wantsCursors = request.wantsCursors
        wantsConflated = request.wantsConflated
        self.generation = generation
        self.position = position
        self.syncTarget = syncTarget
        self.patternID = patternID
        self.matchingCost = Int32(matchingCost)
        if case .snapshot(let after, _) = start { lag = .snapshot(SnapshotCoverage(after: after)) }
    }

    // MARK: What is known

    var isLive: Bool { state == .live }
    /// Whether `synced` is still to come.
    var isUnsynced: Bool { syncTarget != nil }

    /// While it is behind by being slow.
    var demotion: Demotion? {
        if case .demoted(let demotion) = lag { demotion } else { nil }
    }

    /// What of its first snapshot it has been sent; nil where it has been live since, or began without one.
    var coverage: SnapshotCoverage? {
        if case .snapshot(let coverage) = lag { coverage } else { nil }
    }

    /// The place to resume from, when everything before `delivered` has been handed over to live subscriptions.
    func cursor(epoch: Epoch, delivered: Revision) -> Cursor {
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

    // MARK: Inputs

    /// Updates were sent while it was behind.
    mutating func sent(_ updates: UInt64) {
        count += updates
        demotion?.sent += updates
    }

    /// A page that it had asked for was handed over.
    mutating func pageHandedOver(_ page: PageResult) {
        switch (page.request.position, page.next) {
        case (_, .keys(let after, let base)?):
            state = .snapshot(after: after, base: base)
            if let after, filter.mayName(after) {
                lastNamed = after
            } else if let last = page.rows.last {
                lastNamed = last.key
            }
        case (_, .changes(let after)?): catchUp(from: after)
        // The range is through. What changed since its beginning comes by revision.
        case (.keys(_, let base), nil): catchUp(from: base)
        case (.changes, nil): catchUp(from: page.head)
        }
    }

    private mutating func catchUp(from revision: Revision) {
        assert(state != .catchingUp || revision >= position, "nothing that was handed over is read again")
        state = .catchingUp
        position = revision
    }

    /// Everything up to `delivered` has been handed over: from now on it gets what is committed.
    ///
    /// - Returns: what there is to be known of it, if it was behind by being slow.
    mutating func becameLive(at delivered: Revision) -> Demotion? {
        defer { lag = .none }
        assert(position <= delivered || state != .catchingUp, "what it has got was delivered")
        state = .live
        position = delivered
        noticedRevision = delivered
        return demotion
    }

    /// Its connection is a slow consumer: what comes behind `position` is read from the database again.
    mutating func fellBehind(to position: Revision, _ demotion: Demotion) {
        assert(isLive, "only a live subscription falls behind")
        state = .catchingUp
        self.position = position
        lag = .demoted(demotion)
    }

    /// Whether `synced` is due, once: everything that there was when it was made has been handed over.
    mutating func takeSynced() -> Bool {
        if case .snapshot = state { return false }
        guard let target = syncTarget, position >= target else { return false }
        syncTarget = nil
        return true
    }

    /// Whether, while live, it is to be told how far it has got, though nothing matched; once for a revision.
    mutating func takeNotice(at delivered: Revision) -> Bool {
        guard wantsCursors, isLive, noticedRevision < delivered else { return false }
        noticedRevision = delivered
        return true
    }
}
