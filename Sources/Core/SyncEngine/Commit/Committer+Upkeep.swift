package import Registers
import SyncProtocol

/// What the committer does of its own accord: registers expire, what ended with a connection goes, tombstones are
/// forgotten.
extension Committer {
    /// How many rows one transaction of upkeep handles, so that no write waits for long.
    private static var portion: Int { 1_000 }

    func isSweepDue(now: WallTime) -> Bool {
        guard let nextExpiry else { return false }
        return nextExpiry <= now
    }

    /// Turns registers whose time is over into tombstones, as changes like any other. They keep their versions: another
    /// replica that sweeps at another time ends with the same register.
    mutating func sweep(now: WallTime, _ draft: inout CommitDraft) throws(StoreError) {
        guard isSweepDue(now: now) else { return }
        draft.hasSwept = true
        for stored in try store.expired(at: now, limit: sweep.limit, skipping: sweep.skipped) {
            let key = stored.register.key
            if owners[key]?.keeps(stored) == true {
                // Its connection lives; the server just could not keep it up in time.
                let ephemeral = EphemeralKey(key: key, fence: stored.fence)
                apply(judge.kept(ephemeral, stored, now: now), replacing: stored, origin: .server, in: &draft)
                continue
            }
            var tombstone = stored
            tombstone.register = stored.register.expired
            // The op of a plain write still answers a resend; a claim that is over may be made again.
            if stored.binding != nil { tombstone.op = nil }
            tombstone.binding = nil
            apply(tombstone, replacing: stored, origin: .server, in: &draft)
            draft.own(key, by: nil)
        }
        try tellRules(now: now, &draft)
    }

    /// Whether a register is kept up for a connection that is to end it.
    package func isKeptUp(_ stored: StoredRegister) -> Bool { owners[stored.register.key]?.keeps(stored) == true }

    /// Ends what was bound to connections of an earlier run: to be repeated until nothing has changed, before anyone
    /// is served, or, where that failed, as soon as it can be done.
    package mutating func endEphemerals(now: WallTime) -> (Committed, StoreError?) {
        isStart = true
        defer { isStart = false }
        return transact([], now: now, isForced: true) { committer, draft throws(StoreError) in
            for stored in try committer.store.connectionBound(limit: Self.portion)
            where committer.owners[stored.register.key]?.fence != stored.fence {
                var tombstone = stored
                tombstone.register = stored.register.ended(.disconnected)
                tombstone.op = nil
                tombstone.binding = nil
                committer.apply(tombstone, replacing: stored, origin: .server, in: &draft)
            }
            try committer.tellRules(now: now, &draft)
        }
    }

    /// When there is something to do next without a request, in milliseconds; nil: never.
    package var nextDue: WallTime? {
        guard let expiry = nextExpiry, let due = rules.nextDue else { return nextExpiry ?? rules.nextDue }
        return min(expiry, due)
    }

    /// Forgets tombstones that have had time enough to reach everyone: older than `retention` (milliseconds) by their
    /// commit and by their stamp.
    ///
    /// - Returns: what tells the event loops of the new horizon, how many tombstones are forgotten, and what
    ///   failed.
    package mutating func collect(
        retention: UInt64, now: WallTime
    ) -> (changes: Committed, count: Int, failure: StoreError?) {
        guard now - retention > .zero else { return (committed(of: CommitDraft(head: head)), 0, nil) }
        var count = 0
        let (changes, failure) = transact([], now: now, isForced: true) { committer, draft throws(StoreError) in
            // Where rules have looked at the database anew they may write over what would be forgotten: another time, then.
            guard draft.updates.isEmpty else { return }
            let collected = try committer.store.collect(before: now - retention, limit: Self.portion)
            count = collected.keys.count
            draft.collected = collected
        }
        return (changes, failure == nil ? count : 0, failure)
    }

    /// Takes over what was collected: nothing in memory may remember more than the disk.
    mutating func accept(_ collected: CollectedTombstones) {
        for key in collected.keys { cache.remove(key) }
        collectedRevision = max(collectedRevision, collected.revision)
        judge.collectedStamp = max(judge.collectedStamp, collected.stamp)
        judge.collectedFence = max(judge.collectedFence, collected.fence)
    }

    /// Finds out whether the database takes writes again, after it has refused one.
    package mutating func probe(now: WallTime) -> (Committed, StoreError?) {
        transact([], now: now, isProbe: true) { committer, draft throws(StoreError) in
            try committer.sweep(now: now, &draft)
        }
    }
}
