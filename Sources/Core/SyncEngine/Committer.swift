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
            if requests.contains(where: { !$0.write.isTransient }) {
                draft.isTransaction = true
                try store.begin(now: now)
            }
            for request in requests { try carryOut(request, now: now, in: &draft) }
            try persist(&draft, now: now)
        } catch {
            store.rollback()
            return (refuse(requests, .storageFailed, error), error)
        }
        do throws(StoreError) {
            if draft.isTransaction { try store.commit() }
        } catch {
            store.rollback()
            recover()
            return (refuse(requests, .outcomeUnknown, error), error)
        }
        head = draft.head
        if let bound = draft.clockBound { clockBound = bound }
        for stored in draft.latest.values { cache.insert(stored) }
        return (batch(of: draft), nil)
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

    private mutating func persist(_ draft: inout Draft, now: UInt64) throws(StoreError) {
        // In the order of revisions: the table is appended to.
        for stored in draft.latest.values.sorted(by: { $0.revision < $1.revision }) {
            try store.put(stored, replacing: draft.replaced[stored.register.key])
        }
        if judge.clock.last > clockBound {
            if !draft.isTransaction {
                draft.isTransaction = true
                try store.begin(now: now)
            }
            let milliseconds = min(judge.clock.last.milliseconds + Self.boundAhead, Stamp.maximumMilliseconds)
            let bound = Stamp(milliseconds: milliseconds, counter: .max)
            try store.raiseClockBound(to: bound)
            draft.clockBound = bound
        }
    }

    /// After a commit of which only the disk knows the outcome: forgets what is in memory and asks the disk.
    private mutating func recover() {
        cache.removeAll()
        if let state = try? store.state() { head = max(head, state.head) }
    }

    private func refuse(_ requests: [WriteRequest], _ code: ErrorCode, _ error: StoreError) -> CommittedBatch {
        let message =
            code == .outcomeUnknown
            ? "the commit failed, and the write may have been made or not: \(error.description)"
            : "the database refused the write: \(error.description)"
        let hint =
            code == .outcomeUnknown ? "resending is safe with a full \"version\", or with an \"op\"" : nil
        let outcome = WriteOutcome.refused(WireError(code, message, hint: hint))
        var draft = Draft(head: head)
        draft.answers = requests.map { ($0, outcome) }
        return batch(of: draft)
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
