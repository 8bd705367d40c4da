import Access
import Registers
import SyncProtocol

/// Requests about one key: each is judged over the register as the commit has left it so far.
extension Committer {
    mutating func carryOut(
        _ request: WriteRequest, now: WallTime, in draft: inout CommitDraft
    ) throws(StoreError) {
        switch request.action {
        case .batch(let batch): return try carryOut(batch, request, now: now, in: &draft)
        case .replicate(let registers, _): return try replicate(registers, request, now: now, in: &draft)
        case .call, .withdraw, .giveBack: return try askRules(request, now: now, in: &draft)
        case .write, .lease, .touch, .keep, .end: break
        }
        guard let key = request.key else { preconditionFailure("what is about several keys was carried out") }
        if let refusal = guardRefusal(request) { return draft.answer(request, .refused(refusal)) }
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
        case .apply(let change): try take(change, request, key, current, in: &draft)
        }
    }

    /// Takes a change over, unless it makes a key for which there is no room.
    private mutating func take(
        _ change: WriteJudge.Change, _ request: WriteRequest, _ key: Key, _ current: StoredRegister?,
        in draft: inout CommitDraft
    ) throws(StoreError) {
        if let refusal = try quotaRefusal(request, change, current, &draft) {
            return draft.answer(request, .refused(refusal))
        }
        let stored = StoredRegister(
            change.register, revision: draft.head.next, fence: change.fence, binding: change.binding)
        apply(stored, replacing: current, origin: request.origin, in: &draft)
        let ephemeral = ephemeral(stored, request, draft)
        if let ephemeral {
            draft.own(key, by: Owner(request.origin, ephemeral, before: owner(of: key, in: draft)))
        } else if change.binding?.endsWithConnection != true, owner(of: key, in: draft) != nil {
            draft.own(key, by: nil)
        }
        draft.answer(request, change.outcome(stored), ephemeral: ephemeral)
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
        case .write, .touch, .batch, .end, .replicate, .call, .withdraw, .giveBack: return nil
        }
        let key = EphemeralKey(key: stored.register.key, fence: stored.fence)
        return CommittedChanges.Ephemeral(key: key, expiresAt: expiresAt, upkeep: upkeep)
    }

    mutating func current(of key: Key, in draft: CommitDraft) throws(StoreError) -> StoredRegister? {
        if let stored = draft.latest(of: key) { return stored }
        return try known(key)
    }

    /// The register of a key as of the last commit.
    mutating func known(_ key: Key) throws(StoreError) -> StoredRegister? {
        if let stored = cache.find(key) { return stored }
        let stored = try store.current(of: key)
        if let stored { cache.insert(stored) }
        return stored
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
