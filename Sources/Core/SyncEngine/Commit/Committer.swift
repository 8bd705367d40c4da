import Access
import NIOCore
package import Registers
import SyncProtocol

/// Turns requests into commits, many into one. The only place where registers change: it stamps, merges, ends what is over,
/// assigns revisions, and encodes every update once, after the disk has it.
package struct Committer<Store: WriteStore> {
    /// How far ahead of the clock its bound is persisted, in milliseconds: one more row written in so much time, and so
    /// much of a jump of the server's stamps after a crash.
    private static var boundAhead: UInt64 { 1_000 }
    /// How long a sweep that failed waits until it is tried again, in milliseconds.
    private static var sweepPause: UInt64 { 1_000 }

    package internal(set) var store: Store
    var judge: WriteJudge
    var cache: RegisterCache
    private var clockBound: Stamp
    private let loops: Int
    private let framing: Framing
    /// Whether a commit failed, and the disk has not been asked since what it has.
    private(set) var mustRecover = false
    /// When the next register expires, in milliseconds; nil: none does.
    package internal(set) var nextExpiry: WallTime?
    /// The connections that ephemeral keys end with: a claim that was sent again on a new connection is that
    /// one's, and the end of the old one no longer ends it.
    var owners: [Key: Owner] = [:]
    /// Changes that were made by a commit that seemed to fail, and that nobody has been told of yet.
    private var untold: [CommitDraft.Update] = []
    /// What a commit was to change of which nobody knows whether it was made.
    private var unknown: CommitDraft?
    private var quotas = KeyQuotas()
    /// How much a sweep takes at once, and how many rows it passes over, since they cannot be read.
    var sweep = SweepState()
    package private(set) var head: Revision
    package internal(set) var collectedRevision: Revision

    /// - Parameters:
    ///   - loops: how many event loops there are to answer to.
    ///   - cacheSize: how much memory the cache of registers may take, in bytes.
    package init(
        store: Store, state: StoreState, loops: Int, maximumDrift: UInt64, cacheSize: Int, framing: @escaping Framing
    ) {
        self.store = store
        judge = WriteJudge(
            clock: HybridLogicalClock(last: state.clockBound), maximumDrift: maximumDrift,
            collectedStamp: state.collectedStamp, collectedFence: state.collectedFence)
        cache = RegisterCache(maximumCost: cacheSize)
        clockBound = state.clockBound
        head = state.head
        collectedRevision = state.collectedRevision
        // Whatever is in the database may be over by now.
        nextExpiry = 0
        self.loops = loops
        self.framing = framing
    }

    /// The greatest stamp issued so far, for a clean shutdown to persist.
    package var lastStamp: Stamp { judge.clock.last }

    /// Ends what is over and carries out `requests`, each seeing the ones before it, in one transaction.
    ///
    /// A failure is answered too: by `storage_failed` when nothing was changed, by `outcome_unknown` when the commit
    /// itself failed and only the disk knows.
    ///
    /// - Parameter now: the wall clock, in milliseconds.
    /// - Returns: the changes for the event loops, and what failed, for the log.
    package mutating func commit(_ requests: [WriteRequest], now: WallTime) -> (Committed, StoreError?) {
        transact(requests, now: now) { committer, draft throws(StoreError) in
            try committer.sweep(now: now, &draft)
            for request in requests { try committer.carryOut(request, now: now, in: &draft) }
        }
    }

    /// Commits `requests`, where a part of the database may be damaged: requests that it refuses are set apart from those
    /// that it takes.
    ///
    /// - Parameter publish: is given what each commit has changed, in order, with what failed.
    package mutating func commit(
        _ requests: [WriteRequest], now: WallTime, publish: (Committed, StoreError?) -> Void
    ) {
        let wasSweepDue = isSweepDue(now: now)
        var (changes, failure) = commit(requests, now: now)
        if failure != nil, wasSweepDue, !mustRecover, !requests.isEmpty {
            // What cannot be swept is no reason to refuse anything: the sweep has been put off.
            (changes, failure) = commit(requests, now: now)
        }
        guard let failure, failure.isDamage, !mustRecover, requests.count > 1 else { return publish(changes, failure) }
        let half = requests.count / 2
        commit(Array(requests[..<half]), now: now, publish: publish)
        commit(Array(requests[half...]), now: now, publish: publish)
    }

    /// Runs `body` in a transaction, with all that can go wrong with one.
    ///
    /// - Parameters:
    ///   - isForced: whether there is something for the disk whatever `requests` are.
    ///   - isProbe: whether to write something, to see whether that can be done.
    mutating func transact(
        _ requests: [WriteRequest], now: WallTime, isForced: Bool = false, isProbe: Bool = false,
        _ body: (inout Committer, inout CommitDraft) throws(StoreError) -> Void
    ) -> (Committed, StoreError?) {
        var draft = CommitDraft(head: head)
        do throws(StoreError) {
            if mustRecover { try recover() }
            draft = CommitDraft(head: head, count: requests.count)
            // A transaction that writes nothing would find nothing out, and what is written as it stands there already is not written.
            if isProbe { draft.clockBound = Stamp(rawValue: max(clockBound.rawValue, clockBound.rawValue &+ 1)) }
            try begin(requests, now: now, isForced: isForced, &draft)
            try body(&self, &draft)
            try put(&draft)
        } catch {
            store.rollback()
            if draft.hasSwept { sweep.failed(error) }
            putSweepOff(now: now)
            return (refusal(of: requests, .storageFailed, error), error)
        }
        do throws(StoreError) {
            if draft.isTransaction { try store.commit() }
        } catch {
            store.rollback()
            mustRecover = true
            unknown = draft
            try? recover()
            putSweepOff(now: now)
            return (refusal(of: requests, .outcomeUnknown, error), error)
        }
        accept(draft)
        return (committed(of: draft), nil)
    }

    /// Takes over what was committed.
    private mutating func accept(_ draft: CommitDraft) {
        head = draft.head
        if let bound = draft.clockBound { clockBound = bound }
        if draft.hasSwept {
            nextExpiry = draft.nextExpiry
            sweep.succeeded()
        }
        draft.forEachLatest { update in
            cache.insert(update.stored)
            note(expiryOf: update.stored)
            if !quotas.isEmpty { quotas.note(update.stored.register.key, by: update.growth) }
        }
        for (key, ownership) in draft.ownership {
            switch ownership {
            case .owned(let owner): owners[key.detached] = owner
            case .unowned: owners[key] = nil
            }
        }
        if let collected = draft.collected { accept(collected) }
    }

    private mutating func note(expiryOf stored: StoredRegister) {
        guard let expiry = stored.register.expiresAt, !stored.register.isTombstone else { return }
        nextExpiry = nextExpiry.map { min($0, expiry) } ?? expiry
    }

    /// A row that cannot be swept, or a disk that fails, must not be tried again and again.
    private mutating func putSweepOff(now: WallTime) {
        if isSweepDue(now: now) { nextExpiry = now + Self.sweepPause }
    }

    private mutating func carryOut(
        _ request: WriteRequest, now: WallTime, in draft: inout CommitDraft
    ) throws(StoreError) {
        switch request.action {
        case .batch(let batch): return try carryOut(batch, request, now: now, in: &draft)
        case .replicate(let registers, _): return try replicate(registers, request, now: now, in: &draft)
        case .write, .lease, .touch, .keep, .end: break
        }
        guard let key = request.key else { preconditionFailure("what is about several keys was carried out") }
        let current = request.isTransient ? nil : try current(of: key, in: draft)
        var fenced: StoredRegister?
        if let fence = request.fence {
            fenced = try self.current(of: fence.key, in: draft)
        }
        if request.isOfEphemeral, !isOwner(request, in: draft) {
            return draft.answer(request, .claimRefused(.staleFence, holder: nil, expiresAt: nil))
        }
        switch judge.judge(request, current: current, fenced: fenced, now: now) {
        case .answer(let outcome):
            let outcome = draft.shown(outcome)
            let ephemeral = outcome.isSuccess ? ephemeral(current, request, draft) : nil
            if let ephemeral {
                draft.own(key, by: Owner(request.origin, ephemeral, before: owner(of: key, in: draft)))
            }
            draft.answer(request, outcome, ephemeral: ephemeral)
        case .fanOut(let register):
            draft.fanOut(register, origin: request.origin)
            draft.answer(request, .transient(version: register.version))
        case .apply(let change):
            if let refusal = try quotaRefusal(request, change, current, &draft) {
                return draft.answer(request, .refused(refusal))
            }
            let stored = StoredRegister(
                change.register, revision: draft.head.next, fence: change.fence, binding: change.binding)
            draft.apply(stored, replacing: current, origin: request.origin)
            let ephemeral = ephemeral(stored, request, draft)
            if let ephemeral {
                draft.own(key, by: Owner(request.origin, ephemeral, before: owner(of: key, in: draft)))
            } else if change.binding?.endsWithConnection != true, owner(of: key, in: draft) != nil {
                draft.own(key, by: nil)
            }
            draft.answer(request, change.outcome(stored), ephemeral: ephemeral)
        }
    }

    /// Why a write that makes a key may not: its bearer has as many as it may have.
    private mutating func quotaRefusal(
        _ request: WriteRequest, _ change: WriteJudge.Change, _ current: StoredRegister?, _ draft: inout CommitDraft
    ) throws(StoreError) -> WireError? {
        guard !change.register.isTombstone, current?.register.isTombstone != false,
            let (limit, count) = try keyLimit(of: request, &draft), count >= limit
        else { return nil }
        return WireError(
            .tooManyKeys, "there are \(limit) keys where these credentials may write; that is the limit",
            hint: "delete some, or let them expire by \"ttl\"")
    }

    /// How many keys there may be where the sender of a request may write, and how many there are; nil: any number.
    mutating func keyLimit(
        of request: WriteRequest, _ draft: inout CommitDraft
    ) throws(StoreError) -> (limit: Int, count: Int)? {
        guard let grant = request.grant, let limit = grant.maximumKeys else { return nil }
        let before = try quotas.count(in: grant.write) { filter throws(StoreError) in try store.count(filter) }
        return (limit, before + draft.growth(in: grant.write))
    }

    /// Whether the connection still has the ephemeral key that it asks about, and, to keep it up, has not taken that upon itself.
    private func isOwner(_ request: WriteRequest, in draft: CommitDraft) -> Bool {
        guard let key = request.key, let owner = owner(of: key, in: draft), owner.origin == request.origin else {
            return false
        }
        if case .keep = request.action { return owner.isKept }
        return true
    }

    func owner(of key: Key, in draft: CommitDraft) -> Owner? {
        switch draft.ownership[key] {
        case .owned(let owner)?: owner
        case .unowned?: nil
        case nil: owners[key]
        }
    }

    /// What ends with the connection of `request`, once that has made `stored` or was found to have made it before.
    private func ephemeral(
        _ stored: StoredRegister?, _ request: WriteRequest, _ draft: CommitDraft
    ) -> CommittedChanges.Ephemeral? {
        guard let stored, stored.binding?.endsWithConnection == true, let expiresAt = stored.register.expiresAt else {
            return nil
        }
        var upkeep = CommittedChanges.Upkeep.asBefore
        switch request.action {
        case .write(let write) where write.endsWithConnection: upkeep = write.timeToLive == nil ? .server : .client
        case .lease(let lease) where lease.endsWithConnection: upkeep = lease.timeToLive == nil ? .server : .client
        case .lease(let lease):
            // A renewal: a time that it brings is the client's business from then on.
            guard owner(of: stored.register.key, in: draft)?.origin == request.origin else { return nil }
            if lease.timeToLive != nil { upkeep = .client }
        case .keep: break
        case .write, .touch, .batch, .end, .replicate: return nil
        }
        let key = EphemeralKey(key: stored.register.key, fence: stored.fence)
        return CommittedChanges.Ephemeral(key: key, expiresAt: expiresAt, upkeep: upkeep)
    }

    mutating func current(of key: Key, in draft: CommitDraft) throws(StoreError) -> StoredRegister? {
        if let stored = draft.latest(of: key) { return stored }
        if let stored = cache.find(key) { return stored }
        let stored = try store.current(of: key)
        if let stored { cache.insert(stored) }
        return stored
    }

    /// Begins a transaction, if anything is for the disk: transient broadcasts alone are not.
    private mutating func begin(
        _ requests: [WriteRequest], now: WallTime, isForced: Bool, _ draft: inout CommitDraft
    ) throws(StoreError) {
        let greatest = greatestStamp(of: requests, now: now)
        if greatest > clockBound {
            let milliseconds = min(greatest.milliseconds + Self.boundAhead, Stamp.maximumMilliseconds)
            draft.clockBound = Stamp(milliseconds: milliseconds, counter: .max)
        }
        guard
            draft.clockBound != nil || isForced || isSweepDue(now: now) || requests.contains(where: { !$0.isTransient })
        else { return }
        draft.isTransaction = true
        try store.begin(now: now, clockBound: draft.clockBound)
    }

    /// A stamp that no write of the commit will pass: what the server can issue, and what clients bring and may bring.
    private func greatestStamp(of requests: [WriteRequest], now: WallTime) -> Stamp {
        let limit = Stamp(
            milliseconds: min((now + judge.maximumDrift).milliseconds, Stamp.maximumMilliseconds), counter: .max)
        var greatest = max(judge.clock.last, Stamp(milliseconds: min(now.milliseconds, Stamp.maximumMilliseconds)))
        // How many are stamped.
        var rows = requests.count
        for request in requests {
            if let brought = request.brought, brought <= limit { greatest = max(greatest, brought) }
            switch request.action {
            case .replicate(let registers, _):
                for register in registers { greatest = max(greatest, register.version.stamp) }
            case .batch(let batch): rows += batch.message.members.count - 1
            case .write, .lease, .touch, .keep, .end: break
            }
        }
        let (sum, isOver) = greatest.rawValue.addingReportingOverflow(UInt64(rows))
        return Stamp(rawValue: isOver ? .max : sum)
    }

    private mutating func put(_ draft: inout CommitDraft) throws(StoreError) {
        try draft.forEachLatest { update throws(StoreError) in
            try store.put(update.stored, replacing: update.replaced?.revision)
        }
        for answer in draft.keptAnswers.values { try store.put(answer) }
        if draft.hasSwept { draft.nextExpiry = try store.nextExpiry(skipping: sweep.skipped) }
    }

    /// Forgets what is in memory and asks the disk. Until that answers, nothing can be written.
    private mutating func recover() throws(StoreError) {
        mustRecover = true
        cache.removeAll()
        quotas.removeAll()
        let state = try store.state()
        if let unknown, state.head == unknown.head, state.head > head {
            // It was made. Its changes have revisions, and subscribers must not be left with a gap in the place of them.
            untold += unknown.updates.filter { $0.revision != nil }
        }
        unknown = nil
        head = max(head, state.head)
        collectedRevision = max(collectedRevision, state.collectedRevision)
        judge.collectedStamp = max(judge.collectedStamp, state.collectedStamp)
        judge.collectedFence = max(judge.collectedFence, state.collectedFence)
        nextExpiry = 0
        mustRecover = false
    }

    private func refusalDraft(of requests: [WriteRequest], _ code: ErrorCode, _ error: StoreError) -> CommitDraft {
        let message =
            code == .outcomeUnknown
            ? "the commit failed, and the write may have been made or not: \(error.description)"
            : "the database refused the write: \(error.description)"
        let hint =
            code == .outcomeUnknown ? "resending is safe with a full \"version\", or with an \"op\"" : nil
        let outcome = WriteOutcome.refused(WireError(code, message, hint: hint))
        var draft = CommitDraft(head: head)
        for request in requests { draft.answer(request, outcome) }
        return draft
    }

    private mutating func refusal(
        of requests: [WriteRequest], _ code: ErrorCode, _ error: StoreError
    ) -> Committed {
        committed(of: refusalDraft(of: requests, code, error))
    }

    mutating func committed(of draft: CommitDraft) -> Committed {
        guard !untold.isEmpty else {
            return draft.committed(loops: loops, collectedRevision: collectedRevision, framing: framing)
        }
        var draft = draft
        draft.updates = untold + draft.updates
        untold = []
        return draft.committed(loops: loops, collectedRevision: collectedRevision, framing: framing)
    }
}

extension WriteJudge.Change {
    /// The answer, once the register has its revision.
    fileprivate func outcome(_ stored: StoredRegister) -> WriteOutcome {
        switch kind {
        case .write:
            .applied(
                version: register.version, revision: stored.revision, expiresAt: register.expiresAt, isJudged: isJudged)
        case .touch:
            .touched(version: register.version, revision: stored.revision, expiresAt: register.expiresAt)
        case .claim: .claimed(WriteJudge.grant(stored))
        case .release: .released(version: register.version, revision: stored.revision)
        }
    }
}

extension WriteOutcome {
    fileprivate var isSuccess: Bool {
        switch self {
        case .applied, .claimed: true
        default: false
        }
    }
}
