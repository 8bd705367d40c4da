import NIOCore
package import Registers
import SyncProtocol

/// Turns batches of writes into commits. The only place where registers change: it stamps, merges, assigns revisions,
/// and lays every update out once, after the disk has it.
package struct Committer<Store: WriteStore> {
    /// How far ahead of the clock its bound is persisted, in milliseconds: one more row written in so much time, and so
    /// much of a jump of the server's stamps after a crash.
    private static var boundAhead: UInt64 { 1_000 }

    private var store: Store
    private var judge: WriteJudge
    private var cache: RegisterCache
    private var clockBound: Stamp
    private let loops: Int
    private let framing: Framing
    /// Whether a commit failed, and the disk has not been asked since what it has.
    private var mustRecover = false
    package private(set) var head: UInt64

    /// - Parameters:
    ///   - loops: how many event loops there are to answer to.
    ///   - cacheSize: how much memory the cache of registers may take, in bytes.
    package init(
        store: Store, state: StoreState, loops: Int, maximumDrift: UInt64, cacheSize: Int, framing: @escaping Framing
    ) {
        self.store = store
        judge = WriteJudge(
            clock: HybridLogicalClock(last: state.clockBound), maximumDrift: maximumDrift,
            collectedStamp: state.collectedStamp)
        cache = RegisterCache(maximumCost: cacheSize)
        clockBound = state.clockBound
        head = state.head
        self.loops = loops
        self.framing = framing
    }

    /// The greatest stamp issued so far, for a clean shutdown to persist.
    package var lastStamp: Stamp { judge.clock.last }

    /// Carries out `requests`, each seeing the ones before it, in one transaction.
    ///
    /// A failure is answered too: by `storage_failed` when nothing was changed, by `outcome_unknown` when the commit
    /// itself failed and only the disk knows.
    ///
    /// - Parameter now: the wall clock, in milliseconds.
    /// - Returns: the batch for the event loops, and what failed, for the log.
    package mutating func commit(_ requests: [WriteRequest], now: UInt64) -> (CommittedBatch, StoreError?) {
        var draft = Draft(head: head)
        do throws(StoreError) {
            if mustRecover { try recover() }
            draft = Draft(head: head)
            try begin(requests, now: now, &draft)
            for request in requests { try carryOut(request, now: now, in: &draft) }
            try put(draft)
        } catch {
            store.rollback()
            return (refusal(of: requests, .storageFailed, error), error)
        }
        do throws(StoreError) {
            if draft.isTransaction { try store.commit() }
        } catch {
            store.rollback()
            mustRecover = true
            return (outcomeUnknown(draft, of: requests, error), error)
        }
        head = draft.head
        if let bound = draft.clockBound { clockBound = bound }
        for stored in draft.latest.values { cache.insert(stored) }
        return (batch(of: draft), nil)
    }

    /// Only the disk knows whether the transaction was made. If it was, its changes have revisions, and subscribers must
    /// not be left with a gap in the place of them.
    private mutating func outcomeUnknown(
        _ draft: Draft, of requests: [WriteRequest], _ error: StoreError
    ) -> CommittedBatch {
        let before = head
        try? recover()
        var refused = refusalDraft(of: requests, .outcomeUnknown, error)
        if !mustRecover, head == draft.head, head > before {
            refused.updates = draft.updates.filter { $0.revision != nil }
        }
        return batch(of: refused)
    }

    /// A batch under way.
    private struct Draft {
        var head: UInt64
        /// Whether there is anything for the disk: transient broadcasts alone are not.
        var isTransaction = false
        /// The registers that the batch has changed, as they are now.
        var latest: [Key: StoredRegister] = [:]
        /// The revisions, in the database, of the registers that the batch has changed.
        var replaced: [Key: UInt64] = [:]
        /// The clock's new bound, where it has to be raised.
        var clockBound: Stamp?
        var updates: [(register: Register, revision: UInt64?, origin: Origin)] = []
        var answers: [(request: WriteRequest, outcome: WriteOutcome)] = []

        init(head: UInt64) {
            self.head = head
        }
    }

    private mutating func carryOut(_ request: WriteRequest, now: UInt64, in draft: inout Draft) throws(StoreError) {
        let key = request.write.key
        let current = request.write.isTransient ? nil : try current(of: key, in: draft)
        switch judge.judge(request, current: current, now: now) {
        case .answer(let outcome):
            draft.answers.append((request, outcome))
        case .fanOut(let register):
            draft.updates.append((register, nil, request.origin))
            draft.answers.append((request, .transient(version: register.version)))
        case .apply(let register):
            draft.head += 1
            if draft.latest[key] == nil { draft.replaced[key] = current?.revision }
            draft.latest[key] = StoredRegister(register, revision: draft.head, op: request.write.op)
            draft.updates.append((register, draft.head, request.origin))
            draft.answers.append((request, .applied(version: register.version, revision: draft.head)))
        }
    }

    private mutating func current(of key: Key, in draft: Draft) throws(StoreError) -> StoredRegister? {
        if let stored = draft.latest[key] { return stored }
        if let stored = cache.find(key) { return stored }
        return try store.current(of: key)
    }

    /// Begins a transaction, if anything is for the disk: transient broadcasts alone are not.
    private mutating func begin(_ requests: [WriteRequest], now: UInt64, _ draft: inout Draft) throws(StoreError) {
        let greatest = greatestStamp(of: requests, now: now)
        if greatest > clockBound {
            let milliseconds = min(greatest.milliseconds + Self.boundAhead, Stamp.maximumMilliseconds)
            draft.clockBound = Stamp(milliseconds: milliseconds, counter: .max)
        }
        guard draft.clockBound != nil || requests.contains(where: { !$0.write.isTransient }) else { return }
        draft.isTransaction = true
        try store.begin(now: now, clockBound: draft.clockBound)
    }

    /// A stamp that no write of the batch will pass: what the server can issue, and what clients bring and may bring.
    private func greatestStamp(of requests: [WriteRequest], now: UInt64) -> Stamp {
        let limit = Stamp(milliseconds: min(now + judge.maximumDrift, Stamp.maximumMilliseconds), counter: .max)
        var greatest = max(judge.clock.last, Stamp(milliseconds: min(now, Stamp.maximumMilliseconds)))
        for request in requests {
            var brought = request.stamp
            if case .version(let version) = request.write.stamping { brought = version.stamp }
            if let brought, brought <= limit { greatest = max(greatest, brought) }
        }
        return Stamp(rawValue: greatest.rawValue + UInt64(requests.count))
    }

    private mutating func put(_ draft: Draft) throws(StoreError) {
        // In the order of revisions: the table is appended to.
        for stored in draft.latest.values.sorted(by: { $0.revision < $1.revision }) {
            try store.put(stored, replacing: draft.replaced[stored.register.key])
        }
    }

    /// Forgets what is in memory and asks the disk. Until that answers, nothing can be written.
    private mutating func recover() throws(StoreError) {
        mustRecover = true
        cache.removeAll()
        head = max(head, try store.state().head)
        mustRecover = false
    }

    private func refusalDraft(of requests: [WriteRequest], _ code: ErrorCode, _ error: StoreError) -> Draft {
        let message =
            code == .outcomeUnknown
            ? "the commit failed, and the write may have been made or not: \(error.description)"
            : "the database refused the write: \(error.description)"
        let hint =
            code == .outcomeUnknown ? "resending is safe with a full \"version\", or with an \"op\"" : nil
        let outcome = WriteOutcome.refused(WireError(code, message, hint: hint))
        var draft = Draft(head: head)
        draft.answers = requests.map { ($0, outcome) }
        return draft
    }

    private func refusal(of requests: [WriteRequest], _ code: ErrorCode, _ error: StoreError) -> CommittedBatch {
        batch(of: refusalDraft(of: requests, code, error))
    }

    /// Lays out every update once, and sorts the answers by event loop.
    private func batch(of draft: Draft) -> CommittedBatch {
        var frames = ByteBuffer()
        var changes: [CommittedBatch.Change] = []
        changes.reserveCapacity(draft.updates.count)
        for update in draft.updates {
            let start = frames.readableBytes
            framing(&frames) { ServerMessage.writeUpdate(update.register, revision: update.revision, to: &$0) }
            changes.append(
                CommittedBatch.Change(
                    key: update.register.key, revision: update.revision, origin: update.origin, start: start,
                    end: frames.readableBytes))
        }
        var results = [[CommittedBatch.Result]](repeating: [], count: loops)
        for (request, outcome) in draft.answers {
            results[request.origin.loop].append(
                CommittedBatch.Result(
                    connection: request.origin.connection, id: request.write.id, key: request.write.key,
                    outcome: outcome, cost: request.cost))
        }
        return CommittedBatch(head: draft.head, changes: changes, frames: frames, results: results)
    }
}
