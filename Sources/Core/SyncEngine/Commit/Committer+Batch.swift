import Access
import Registers
import SyncProtocol

/// Batches: judged as a whole, then made as a whole. In a commit they stand between other requests like any write: they see those
/// before them, and none of their own members.
extension Committer {
    /// How many failures of a batch are told of.
    private static var maximumFailures: Int { 16 }

    mutating func carryOut(
        _ batch: WriteRequest.Batch, _ request: WriteRequest, now: WallTime, in draft: inout CommitDraft
    ) throws(StoreError) {
        let message = batch.message
        if let operation = batch.operation, let outcome = try keptOutcome(of: operation, message, now: now, in: draft) {
            return draft.answer(request, outcome)
        }
        // Without their values: hundreds of great ones would be held at once, and none of them is looked at.
        var required: [StoredRegister?] = []
        for requirement in message.requirements {
            required.append(try outline(of: requirement.key, in: draft))
        }
        var current: [StoredRegister?] = []
        for member in message.members { current.append(try replaced(by: member, in: draft)) }
        var failures = judge.failures(of: message, required: required, current: current, now: now)
        failures += guardFailures(message)
        failures += try quotaFailures(request, message, current, &draft)
        guard failures.isEmpty else {
            failures = Array(failures.prefix(Self.maximumFailures))
            for index in failures.indices where failures[index].current?.register.isTombstone == false {
                let found = try self.current(of: failures[index].key, in: draft)
                failures[index].current = found.map { draft.shown($0) }
            }
            return draft.answer(request, .batchRefused(failures))
        }
        apply(message, request, batch.operation, over: current, now: now, in: &draft)
    }

    /// As ``current(of:in:)``, without the value where that is not in memory anyway. What is only looked at takes nothing else's place in the
    /// cache.
    private mutating func outline(of key: Key, in draft: CommitDraft) throws(StoreError) -> StoredRegister? {
        if let stored = draft.latest(of: key) ?? cache.find(key) { return stored }
        return try store.outline(of: key)
    }

    /// The register that a member takes the place of.
    private mutating func replaced(
        by member: ClientMessage.Batch.Member, in draft: CommitDraft
    ) throws(StoreError) -> StoredRegister? {
        // The time of creation is in the metadata, which an outline may lack.
        if case .write(let write) = member, CreationTime.isAsked(by: write.record) {
            return try current(of: member.key, in: draft)
        }
        return try outline(of: member.key, in: draft)
    }

    private mutating func apply(
        _ message: ClientMessage.Batch, _ request: WriteRequest, _ operation: OperationID?,
        over current: [StoredRegister?], now: WallTime, in draft: inout CommitDraft
    ) {
        let firstRevision = draft.head.next
        let changes = judge.changes(of: message, agent: request.agent, current: current, now: now)
        for (change, current) in zip(changes, current) {
            let stored = StoredRegister(change.register, revision: draft.head.next, fence: change.fence)
            apply(stored, replacing: current, origin: request.origin, in: &draft)
            let key = change.register.key
            if owner(of: key, in: draft) != nil { draft.own(key, by: nil) }
        }
        var receipt = BatchReceipt(
            firstRevision: firstRevision, firstVersion: changes[0].register.version, count: changes.count)
        if let operation {
            draft.keep(KeptAnswer(operation, answeredAt: now, text: receipt.text(message.fingerprint)))
        }
        receipt.released = message.released
        receipt.judged = message.conditions
        draft.answer(request, .batched(receipt))
    }

    /// What the same request was answered before, as long as that is remembered.
    private mutating func keptOutcome(
        of operation: OperationID, _ message: ClientMessage.Batch, now: WallTime, in draft: CommitDraft
    ) throws(StoreError) -> WriteOutcome? {
        var text = draft.keptAnswers[operation]?.text
        if text == nil { text = try store.answer(to: operation, since: now - KeptAnswer.lifetime) }
        guard let text else { return nil }
        guard let (kept, fingerprint) = KeptAnswer.batch(text) else {
            throw StoreError(
                "the answer kept for an op is none: the database was altered, or is damaged",
                code: StoreError.damagedRow)
        }
        guard fingerprint == message.fingerprint else {
            return .refused(
                WireError(
                    .badMessage,
                    "this op is that of another batch, which was applied with revisions \(kept.firstRevision) to "
                        + "\(kept.lastRevision); nothing of this one was",
                    hint: "make up an op for each batch, and send it again only with the same text"))
        }
        var receipt = kept
        receipt.judged = message.conditions
        return .batched(receipt)
    }

    /// The writes of a batch for which there are too many keys: its own count, in the order in which they stand.
    private mutating func quotaFailures(
        _ request: WriteRequest, _ message: ClientMessage.Batch, _ current: [StoredRegister?],
        _ draft: inout CommitDraft
    ) throws(StoreError) -> [BatchFailure] {
        guard let (limit, count) = try keyLimit(of: request, &draft) else { return [] }
        var made: [Int] = []
        var gone = 0
        for (index, member) in message.members.enumerated() {
            let isThere = current[index]?.register.isTombstone == false
            if case .write(let write) = member, !write.isDelete {
                if !isThere { made.append(index) }
            } else if isThere {
                gone += 1
            }
        }
        // What makes no more keys than there were is no matter of their limit.
        let room = max(0, limit - count) + gone
        return made.dropFirst(room).map { index in
            BatchFailure(.write(index), key: message.members[index].key, reason: .tooManyKeys, current: nil)
        }
    }
}
