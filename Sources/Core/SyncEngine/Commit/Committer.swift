import Access
import NIOCore
package import Registers
import SyncProtocol

/// Turns requests into commits, many into one. The only place where registers change: it stamps, merges, ends what is over,
/// assigns revisions, and encodes every update once, after the disk has it.
package struct Committer<Store: WriteStore, Calls: Rules> {
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
    var quotas = KeyQuotas()
    /// What decides on calls.
    package let rules: Calls
    /// The draft while rules have it, and the time by which they judge.
    var lent = CommitDraft(head: 0)
    package internal(set) var now: WallTime = 0
    package internal(set) var isStart = false
    /// What rules have to be told of that others have changed.
    var watched: [(new: StoredRegister, old: StoredRegister?)] = []
    /// What ends with a connection, made by rules for requests that they have not answered yet.
    var made: [ObjectIdentifier: CommittedChanges.Ephemeral] = [:]
    /// How much a sweep takes at once, and how many rows it passes over, since they cannot be read.
    var sweep = SweepState()
    package private(set) var head: Revision
    package internal(set) var collectedRevision: Revision

    /// - Parameters:
    ///   - loops: how many event loops there are to answer to.
    ///   - cacheSize: how much memory the cache of registers may take, in bytes.
    ///   - rules: what decides on calls.
    package init(
        store: Store, state: StoreState, loops: Int, maximumDrift: UInt64, cacheSize: Int, rules: Calls,
        framing: @escaping Framing
    ) {
        self.store = store
        self.rules = rules
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
            try committer.carryOutDue(now: now, &draft)
            for request in requests {
                try committer.carryOut(request, now: now, in: &draft)
                try committer.tellRules(now: now, &draft)
            }
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
            if draft.isTransaction, !rules.isLoaded { try withRules(now: now, &draft) { _, _ in } }
            try body(&self, &draft)
            try put(&draft)
        } catch {
            store.rollback()
            dropRules()
            if draft.hasSwept { sweep.failed(error) }
            putSweepOff(now: now)
            return (refusal(of: requests, .storageFailed, error), error)
        }
        do throws(StoreError) {
            if draft.isTransaction { try store.commit() }
        } catch {
            store.rollback()
            dropRules()
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
        rules.committed()
    }

    /// What rules have done is taken back.
    private mutating func dropRules() {
        watched = []
        made = [:]
        rules.rolledBack()
    }

    private mutating func note(expiryOf stored: StoredRegister) {
        guard let expiry = stored.register.expiresAt, !stored.register.isTombstone else { return }
        nextExpiry = nextExpiry.map { min($0, expiry) } ?? expiry
    }

    /// A row that cannot be swept, or a disk that fails, must not be tried again and again.
    private mutating func putSweepOff(now: WallTime) {
        if isSweepDue(now: now) { nextExpiry = now + Self.sweepPause }
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
            draft.clockBound != nil || isForced || isSweepDue(now: now) || areRulesDue(now: now)
                || requests.contains(where: { !$0.isTransient })
        else { return }
        draft.isTransaction = true
        try store.begin(now: now, clockBound: draft.clockBound)
    }

    private func areRulesDue(now: WallTime) -> Bool { rules.nextDue.map { $0 <= now } ?? false }

    /// A stamp that no write of the commit will pass: what the server can issue, and what clients bring and may bring.
    private func greatestStamp(of requests: [WriteRequest], now: WallTime) -> Stamp {
        let limit = Stamp(
            milliseconds: min((now + judge.maximumDrift).milliseconds, Stamp.maximumMilliseconds), counter: .max)
        var greatest = max(judge.clock.last, Stamp(milliseconds: min(now.milliseconds, Stamp.maximumMilliseconds)))
        // How many are stamped; and what rules may do of their own accord.
        var rows = requests.count + rules.maximumStamps
        for request in requests {
            if let brought = request.brought, brought <= limit { greatest = max(greatest, brought) }
            switch request.action {
            case .replicate(let registers, _):
                for register in registers { greatest = max(greatest, register.version.stamp) }
            case .batch(let batch): rows += batch.message.members.count - 1
            case .call(let call): rows += call.maximumStamps
            case .write, .lease, .touch, .keep, .end, .withdraw, .giveBack: break
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
        rules.forget()
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
    func outcome(_ stored: StoredRegister) -> WriteOutcome {
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
