import Access
import NIOCore
import Registers
import SyncProtocol

/// The connection that a register ends with.
struct Owner {
    let origin: Origin
    /// Tells the register from a later one of the key: a commit that seemed to fail may have ended the one, and made the other.
    let fence: Fence
    /// Whether the server keeps the register while the connection lives.
    let isKept: Bool

    init(_ origin: Origin, _ ephemeral: CommittedChanges.Ephemeral, before: Owner?) {
        self.origin = origin
        fence = ephemeral.key.fence
        switch ephemeral.upkeep {
        case .server: isKept = true
        case .client: isKept = false
        case .asBefore: isKept = before?.isKept ?? true
        }
    }

    /// Whether it is of this register, and has it kept up.
    func keeps(_ stored: StoredRegister) -> Bool {
        isKept && fence == stored.fence && stored.binding?.endsWithConnection == true
    }
}

/// How far sweeps get in a database that is damaged: around rows that cannot be read.
struct SweepState {
    private static let portion = 1_000

    /// How many rows to take at once.
    private(set) var limit = portion
    /// How many of the first rows to pass over.
    private(set) var skipped = 0

    mutating func failed(_ error: StoreError) {
        guard error.isDamage else { return }
        if limit > 1 { limit /= 2 } else { skipped += 1 }
    }

    mutating func succeeded() {
        limit = min(Self.portion, limit * 2)
    }
}

/// A commit under way: what it changes, and what it answers.
struct CommitDraft {
    var head: Revision
    /// Whether there is anything for the disk: transient broadcasts alone are not.
    var isTransaction = false
    /// The updates to be told, in order.
    var updates: [Update] = []
    /// Where the latest change of each key is among the updates.
    private var places: [Key: Int] = [:]
    /// The clock's new bound, where it has to be raised.
    var clockBound: Stamp?
    /// The tombstones that were forgotten.
    var collected: CollectedTombstones?
    /// Whether the next expiry has to be asked for anew.
    var hasSwept = false
    var nextExpiry: WallTime?
    /// Which connections keys end with, where the commit has changed that.
    private(set) var ownership: [Key: Ownership] = [:]

    enum Ownership {
        case owned(by: Owner)
        case unowned
    }

    /// What is answered to requests that will be known again.
    private(set) var keptAnswers: [OperationID: KeptAnswer] = [:]
    /// Up to how many bytes a value is always shown: what one asks for takes nothing from the others.
    private static let smallValue = 1_024
    /// How many bytes of values may still be shown to those who were refused: a commit can have thousands of small requests that are, each
    /// over a great value.
    private var shownBytes = 2 << 20
    /// By how much the commit has changed the number of keys in each scope that a limit was asked for in it.
    private var growth: [Scope: Int] = [:]
    private var results: [CommittedChanges.Result] = []

    /// A register that another takes the place of.
    struct Replaced {
        let revision: Revision
        let isTombstone: Bool
    }

    /// A change to be told, or a transient broadcast.
    struct Update {
        let stored: StoredRegister
        /// nil for a transient broadcast.
        let revision: Revision?
        let origin: Origin
        /// What was in the database of the key before the commit, where anything was.
        var replaced: Replaced?
        /// Whether it is for the disk: not where the commit has changed the key again.
        var isLatest: Bool

        /// 1 where a key has come, -1 where it has gone.
        var growth: Int {
            (stored.register.isTombstone ? 0 : 1) - (replaced?.isTombstone == false ? 1 : 0)
        }
    }

    /// - Parameter count: how many requests are to be carried out.
    init(head: Revision, count: Int = 0) {
        self.head = head
        updates.reserveCapacity(count)
        places.reserveCapacity(count)
        results.reserveCapacity(count)
    }

    /// The register of a key as the commit has left it so far; nil where it has not changed it.
    func latest(of key: Key) -> StoredRegister? {
        places[key].map { updates[$0].stored }
    }

    /// The registers for the disk, in the order of their revisions: the log is appended to.
    func forEachLatest<Failure>(_ body: (borrowing Update) throws(Failure) -> Void) throws(Failure) {
        let updates = updates.span
        for index in updates.indices where updates[index].isLatest { try body(updates[index]) }
    }

    /// Gives `stored` the next revision, and puts it in the place of `current`.
    mutating func apply(_ stored: StoredRegister, replacing current: StoredRegister?, origin: Origin) {
        head = head.next
        var stored = stored
        stored.revision = head
        stored.row = current?.row ?? RowID(first: head)
        let key = stored.register.key
        if !growth.isEmpty {
            let isThere = !stored.register.isTombstone
            let before = current?.register.isTombstone == false
            if isThere != before {
                for scope in growth.keys where scope.admits(key) { growth[scope]? += isThere ? 1 : -1 }
            }
        }
        var replaced: Replaced?
        if let earlier = places.updateValue(updates.count, forKey: key) {
            updates[earlier].isLatest = false
            replaced = updates[earlier].replaced
        } else if let current {
            replaced = Replaced(revision: current.revision, isTombstone: current.register.isTombstone)
        }
        updates.append(Update(stored: stored, revision: head, origin: origin, replaced: replaced, isLatest: true))
    }

    /// Notes a transient broadcast, which is told and not stored.
    mutating func fanOut(_ register: Register, origin: Origin) {
        updates.append(
            Update(stored: StoredRegister(register, revision: 0), revision: nil, origin: origin, isLatest: false))
    }

    /// By how much the commit has changed the number of keys in a scope so far.
    mutating func growth(in scope: Scope) -> Int {
        if let known = growth[scope] { return known }
        let difference = updates.reduce(0) { sum, update in
            update.isLatest && scope.admits(update.stored.register.key) ? sum + update.growth : sum
        }
        growth[scope] = difference
        return difference
    }

    /// What is told of an outcome, as of a register below.
    mutating func shown(_ outcome: WriteOutcome) -> WriteOutcome {
        switch outcome {
        case .superseded(let version, let winner): .superseded(version: version, winner: shown(winner))
        case .conditionFailed(let current?): .conditionFailed(current: shown(current))
        default: outcome
        }
    }

    /// What is told of a register that stays in place: without its value, once there was much of that.
    mutating func shown(_ stored: StoredRegister) -> StoredRegister {
        guard let count = stored.register.record.count(of: .value), count > Self.smallValue else { return stored }
        guard shownBytes > 0 else { return stored.withoutValue }
        shownBytes -= count
        return stored
    }

    /// A key ends with a connection from now on; nil: with none.
    mutating func own(_ key: Key, by owner: Owner?) {
        ownership[key] = owner.map { .owned(by: $0) } ?? .unowned
    }

    mutating func keep(_ answer: KeptAnswer) {
        keptAnswers[answer.operation] = answer
    }

    /// - Parameter isLate: whether the request was told before that it waits.
    mutating func answer(
        _ request: WriteRequest, _ outcome: WriteOutcome, ephemeral: CommittedChanges.Ephemeral? = nil,
        isLate: Bool = false
    ) {
        // The server's own requests are answered to nobody.
        if request.origin.loop < 0 { return }
        results.append(
            CommittedChanges.Result(request, outcome: outcome, ephemeral: ephemeral, isLate: isLate))
    }

    /// Encodes every update once, and sorts the answers by event loop.
    func committed(loops: Int, collectedRevision: Revision, framing: Framing) -> Committed {
        var frames = ByteBuffer()
        var changes: [CommittedChanges.Change] = []
        changes.reserveCapacity(updates.count)
        let updates = updates.span
        for index in updates.indices {
            let start = frames.readableBytes
            framing(&frames) {
                ServerMessage.writeUpdate(
                    updates[index].stored.register, revision: updates[index].revision, to: &$0)
            }
            // Changes are kept for those who are a little behind: not with a great value, which the frame has.
            let key = updates[index].stored.register.key
            changes.append(
                CommittedChanges.Change(
                    key: key.record.count > Self.smallValue ? key.detached : key, revision: updates[index].revision,
                    origin: updates[index].origin, start: start, end: frames.readableBytes))
        }
        let made = CommittedChanges(
            head: head, changes: changes, frames: frames, collectedRevision: collectedRevision)
        if loops == 1 { return Committed(made, results: [results]) }
        var sorted = [[CommittedChanges.Result]](repeating: [], count: loops)
        for result in results { sorted[result.request.origin.loop].append(result) }
        return Committed(made, results: sorted)
    }
}
