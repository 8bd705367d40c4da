package import Access
package import Registers
package import SyncProtocol

/// Calls: rules judge them over the draft of the commit, and change it like any request.
extension Committer {
    /// Lends `draft` to the rules.
    mutating func withRules(
        now: WallTime, _ draft: inout CommitDraft, _ body: (Calls, inout Committer) throws(StoreError) -> Void
    ) throws(StoreError) {
        swap(&lent, &draft)
        self.now = now
        defer { swap(&lent, &draft) }
        if !rules.isLoaded { try rules.load(&self) }
        try body(rules, &self)
    }

    /// Has the rules carry a request out.
    mutating func askRules(
        _ request: WriteRequest, now: WallTime, in draft: inout CommitDraft
    ) throws(StoreError) {
        try withRules(now: now, &draft) { rules, committer throws(StoreError) in
            switch request.action {
            case .call(let call): return try rules.carryOut(call, request, &committer)
            case .withdraw(let id, let isAnswered):
                rules.withdraw(id, isAnswered: isAnswered, of: request.origin, &committer)
            case .giveBack(let claim): try rules.giveBack(claim, request, &committer)
            case .write, .lease, .touch, .batch, .keep, .end, .replicate:
                preconditionFailure("no rule is asked for it")
            }
            committer.answer(request, .done, isLate: false)
        }
    }

    /// Takes over a change that was not made by rules, and notes it where they want to hear of it.
    mutating func apply(
        _ stored: StoredRegister, replacing current: StoredRegister?, origin: Origin, in draft: inout CommitDraft
    ) {
        draft.apply(stored, replacing: current, origin: origin)
        if rules.watches(stored.register.key) { watched.append((stored, current)) }
    }

    /// Tells the rules what was changed by others. What follows from it is done in the same commit.
    mutating func tellRules(now: WallTime, _ draft: inout CommitDraft) throws(StoreError) {
        guard !watched.isEmpty else { return }
        let changes = watched
        watched.removeAll(keepingCapacity: true)
        try withRules(now: now, &draft) { rules, committer throws(StoreError) in
            for (new, old) in changes { try rules.changed(new, from: old, &committer) }
        }
    }

    /// Does what is due by itself: tasks whose time has come, calls that have waited for long enough.
    mutating func carryOutDue(now: WallTime, _ draft: inout CommitDraft) throws(StoreError) {
        guard let due = rules.nextDue, due <= now else { return }
        try withRules(now: now, &draft) { rules, committer throws(StoreError) in try rules.carryOutDue(&committer) }
    }

    /// Forgets which registers it has read, so that they are read again.
    package mutating func forgetRegisters() { cache.removeAll() }

    /// Why a request may not write a key that only calls write.
    func guardRefusal(_ request: WriteRequest) -> WireError? {
        guard let key = request.key else { return nil }
        switch request.action {
        case .write, .touch: guard rules.guards(key) else { return nil }
        // A claim that a call has made is renewed and given up like any other.
        case .lease(let lease) where lease.action == .claim: guard rules.isNeverClaimed(key) else { return nil }
        case .lease, .batch, .keep, .end, .replicate, .call, .withdraw, .giveBack: return nil
        }
        return WireError(
            .guarded, "\(key) is written by calls only",
            hint: "tasks by task.submit, task.next and so on; messages by message.send and message.ack")
    }

    /// The members of a batch that would write what only calls write.
    func guardFailures(_ message: ClientMessage.Batch) -> [BatchFailure] {
        message.members.indices.compactMap { index in
            if case .release = message.members[index] { return nil }
            let key = message.members[index].key
            guard rules.guards(key) else { return nil }
            return BatchFailure(.write(index), key: key, reason: .guarded, current: nil)
        }
    }
}

extension Committer: CallContext {
    package mutating func current(of key: Key) throws(StoreError) -> StoredRegister? {
        if let stored = lent.latest(of: key) { return stored }
        return try known(key)
    }

    package mutating func glance(at key: Key) throws(StoreError) -> StoredRegister? {
        if let stored = lent.latest(of: key) ?? cache.find(key) { return stored }
        return try store.current(of: key)
    }

    package mutating func keys(in range: Range<Key>, limit: Int, isLasting: Bool) throws(StoreError) -> [Key] {
        try store.keys(in: range, limit: limit, isLasting: isLasting)
    }

    package mutating func keyCount(in scope: Scope) throws(StoreError) -> Int {
        let before = try quotas.count(in: scope) { filter throws(StoreError) in try store.count(filter) }
        return before + lent.growth(in: scope)
    }

    package mutating func room(of request: WriteRequest) throws(StoreError) -> Int? {
        guard let grant = request.grant, let limit = grant.maximumKeys else { return nil }
        return limit - (try keyCount(in: grant.write))
    }

    package var changeCount: Int { lent.updates.count }

    package mutating func nextStamp() -> Stamp { judge.clock.tick(at: now) }

    package mutating func write(
        _ write: ClientMessage.Write, for request: WriteRequest
    ) throws(StoreError) -> WriteOutcome {
        let key = write.key
        let current = try current(of: key)
        return take(judge.judge(write, request, current: current, fenced: nil, now: now), key, current, request)
    }

    package mutating func lease(
        _ lease: ClientMessage.Lease, for request: WriteRequest
    ) throws(StoreError) -> WriteOutcome {
        let current = try current(of: lease.key)
        let verdict = judge.judge(lease, of: request.agent, current: current, now: now)
        return take(verdict, lease.key, current, request)
    }

    private mutating func take(
        _ verdict: WriteJudge.Verdict, _ key: Key, _ current: StoredRegister?, _ request: WriteRequest
    ) -> WriteOutcome {
        switch verdict {
        case .answer(let outcome): return outcome
        case .fanOut: preconditionFailure("rules make nothing transient")
        case .apply(let change):
            let stored = StoredRegister(
                change.register, revision: lent.head.next, fence: change.fence, binding: change.binding)
            lent.apply(stored, replacing: current, origin: request.origin)
            if change.binding?.endsWithConnection == true, let expiresAt = change.register.expiresAt {
                let ephemeral = CommittedChanges.Ephemeral(
                    key: EphemeralKey(key: key, fence: change.fence), expiresAt: expiresAt, upkeep: .server)
                if change.kind == .write || owner(of: key, in: lent) == nil {
                    lent.own(key, by: Owner(request.origin, ephemeral, before: nil))
                    made[ObjectIdentifier(request)] = ephemeral
                }
            } else if owner(of: key, in: lent) != nil {
                lent.own(key, by: nil)
            }
            return change.outcome(stored)
        }
    }

    package mutating func answer(_ request: WriteRequest, _ outcome: WriteOutcome, isLate: Bool) {
        lent.answer(
            request, outcome, ephemeral: made.removeValue(forKey: ObjectIdentifier(request)), isLate: isLate)
    }

    package mutating func keptAnswer(to operation: OperationID) throws(StoreError) -> [UInt8]? {
        if let text = lent.keptAnswers[operation]?.text { return text }
        return try store.answer(to: operation, since: now - KeptAnswer.lifetime)
    }

    package mutating func keep(_ answer: KeptAnswer) { lent.keep(answer) }
}
