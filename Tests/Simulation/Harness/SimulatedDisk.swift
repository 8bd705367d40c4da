package import Access
package import Registers
package import SyncEngine
import SyncProtocol
package import TestSupport

/// A database on a simulated disk: its commits can be made to fail, power can be cut in the middle of them, and what was
/// not synced can get lost.
package final class SimulatedDisk: WriteStore {
    package enum Fault: Sendable {
        case none
        /// The commit fails, and nothing was written.
        case commitLost
        /// The commit fails, and everything was written all the same.
        case commitKept
        case begin
        case put
    }

    /// Everything that is on the disk.
    package struct Content {
        package var registers: [Key: StoredRegister] = [:]
        /// The keys of all rows.
        var keys: [RowID: Key] = [:]
        /// The log of revisions: the rows of changes, of which the later ones of a row count.
        var log: [Revision: RowID] = [:]
        /// When each register was put, by the wall clock.
        var putAt: [Key: WallTime] = [:]
        package var bound = Stamp.zero
        package var epoch = Epoch(0xABCD)
        var collected = CollectedTombstones(revision: 0, stamp: .zero, fence: 0)
        /// What was answered to requests that are known again.
        var answers: [OperationID: KeptAnswer] = [:]

        package var head: Revision {
            max(log.keys.max() ?? 0, collected.revision)
        }
    }

    package var fault = Fault.none
    /// Whether even the head cannot be read.
    package var isBlind = false
    /// Whether a commit syncs; else it is the kernel's until a checkpoint does.
    package let syncsCommits: Bool
    /// Power is cut at the call that this counts down to; nil: not.
    package var callsUntilPowerCut: Int?
    package private(set) var isPowerCut = false
    /// Told of each register that is put in the place of another, once it is committed.
    package var whenPut: (_ new: StoredRegister, _ old: StoredRegister?) -> Void = { _, _ in }

    package private(set) var content = Content()
    /// What was committed since the last sync, in order.
    private var unsynced: [Content] = []
    private var synced = Content()
    private var draft: Content?
    private var puts: [(new: StoredRegister, old: StoredRegister?)] = []
    private var stale = StaleRevisions(manyStale: 4, leastInCommit: 2)
    private var now: WallTime = 0

    package init(syncsCommits: Bool = true) {
        self.syncsCommits = syncsCommits
    }

    package var committed: [Key: StoredRegister] { content.registers }
    package var bound: Stamp { content.bound }
    package var epoch: Epoch { content.epoch }
    package var head: Revision { content.head }

    // MARK: Writing

    package func state() throws(StoreError) -> StoreState {
        if isBlind || isPowerCut { throw StoreError("state") }
        return StoreState(
            epoch: epoch, head: head, clockBound: bound, collectedRevision: content.collected.revision,
            collectedStamp: content.collected.stamp, collectedFence: content.collected.fence)
    }

    package func begin(now: WallTime, clockBound: Stamp?) throws(StoreError) {
        precondition(draft == nil)
        try call()
        if fault == .begin { throw StoreError("begin") }
        self.now = now
        if let clockBound, !syncsCommits {
            // The clock's bound is synced by itself, before anything that rests on it.
            content.bound = clockBound
            synced.bound = clockBound
            for index in unsynced.indices { unsynced[index].bound = clockBound }
        }
        draft = content
        if let clockBound { draft?.bound = clockBound }
    }

    package func current(of key: Key) -> StoredRegister? { (draft ?? content).registers[key] }

    package func outline(of key: Key) -> StoredRegister? { current(of: key)?.withoutValue }

    package func count(_ filter: Filter) -> Int {
        (draft ?? content).registers.values.count { !$0.register.isTombstone && filter.matches($0.register.key) }
    }

    package func keys(in range: Range<Key>, limit: Int, isLasting: Bool) -> [Key] {
        let found = (draft ?? content).registers.values.filter { stored in
            range.contains(stored.register.key) && !stored.register.isTombstone
                && (!isLasting || stored.register.expiresAt == nil)
        }
        return Array(found.map(\.register.key).sorted().prefix(limit))
    }

    package func put(_ register: StoredRegister, replacing: Revision?) throws(StoreError) {
        precondition(draft != nil)
        try call()
        if fault == .put { throw StoreError("put") }
        let key = register.register.key
        let old = draft?.registers[key]
        precondition(old?.revision == replacing, "the wrong row would be replaced")
        precondition(old == nil || old?.row == register.row, "the row of a key changes")
        precondition(old != nil || draft?.keys[register.row] == nil, "two keys have a row")
        precondition(draft?.log[register.revision] == nil, "two changes have a revision")
        draft?.registers[key] = register
        draft?.keys[register.row] = key
        draft?.log[register.revision] = register.row
        if let replacing { stale.replace(replacing) }
        draft?.putAt[key] = now
        puts.append((register, old))
    }

    package func answer(to operation: OperationID, since: WallTime) -> [UInt8]? {
        guard let answer = (draft ?? content).answers[operation], answer.answeredAt >= since else { return nil }
        return answer.text
    }

    package func put(_ answer: KeptAnswer) throws(StoreError) {
        precondition(draft != nil)
        try call()
        draft?.answers[answer.operation] = answer
    }

    package func commit() throws(StoreError) {
        precondition(draft != nil)
        let isCut = cutsPower()
        // A transaction is on the disk as a whole or not at all: the log has checksums.
        for revision in stale.takeBeside() { draft?.log[revision] = nil }
        let isMade = isCut ? callsUntilPowerCut == 0 && now.milliseconds.isMultiple(of: 2) : fault != .commitLost
        if isMade, let draft {
            content = draft
            for (new, old) in puts { whenPut(new, old) }
            if syncsCommits { synced = draft } else { unsynced.append(draft) }
        }
        draft = nil
        puts = []
        if isCut { throw StoreError("the power is gone") }
        if fault == .commitLost || fault == .commitKept { throw StoreError("commit") }
        stale.committed()
    }

    package func rollback() {
        draft = nil
        puts = []
        stale.rolledBack()
    }

    /// Deletes some rows of the log that are known to be stale, where there is nothing else to do.
    package func clean() {
        precondition(draft == nil)
        guard fault == .none, !isPowerCut else { return }
        for revision in stale.take(3) { content.log[revision] = nil }
        stale.committed()
        // Lost together with the commit before it, or not at all: that it is lost by itself makes no difference.
        if unsynced.isEmpty { synced = content } else { unsynced[unsynced.count - 1] = content }
    }

    private func call() throws(StoreError) {
        if cutsPower() { throw StoreError("the power is gone") }
    }

    private func cutsPower() -> Bool {
        if isPowerCut { return true }
        guard let left = callsUntilPowerCut else { return false }
        callsUntilPowerCut = max(0, left - 1)
        isPowerCut = left <= 1
        return isPowerCut
    }

    // MARK: Upkeep

    package func expired(at now: WallTime, limit: Int, skipping skipped: Int) -> [StoredRegister] {
        let due = (draft ?? content).registers.values.filter {
            !$0.register.isTombstone && $0.register.isExpired(at: now)
        }
        return Array(
            due.sorted {
                ($0.register.expiresAt ?? 0, $0.revision) < ($1.register.expiresAt ?? 0, $1.revision)
            }.dropFirst(skipped).prefix(limit))
    }

    package func nextExpiry(skipping skipped: Int) -> WallTime? {
        (draft ?? content).registers.values.compactMap { $0.register.isTombstone ? nil : $0.register.expiresAt }
            .sorted().dropFirst(skipped).first
    }

    package func connectionBound(limit: Int) -> [StoredRegister] {
        Array(
            content.registers.values.filter { $0.binding?.endsWithConnection == true }
                .sorted { $0.revision < $1.revision }.prefix(limit))
    }

    package func collect(before cutoff: WallTime, limit: Int) throws(StoreError) -> CollectedTombstones {
        try call()
        var collected = content.collected
        collected.keys = []
        for stored in content.registers.values.sorted(by: { $0.revision < $1.revision })
        where stored.register.isTombstone && stored.register.version.stamp.milliseconds < cutoff.milliseconds {
            let key = stored.register.key
            guard collected.keys.count < limit, content.putAt[key] ?? 0 < cutoff else { continue }
            draft?.registers[key] = nil
            draft?.keys[stored.row] = nil
            draft?.log[stored.revision] = nil
            collected.add(
                key, revision: stored.revision, stamp: stored.register.version.stamp, fence: stored.fence)
        }
        draft?.collected = collected
        return collected
    }

    // MARK: Power

    /// Everything that was committed so far is synced, as by a checkpoint.
    package func sync() {
        synced = content
        unsynced = []
    }

    /// The server starts again.
    ///
    /// - Parameters:
    ///   - losesUnsynced: whether the machine crashed, and not only the server: what was not synced may be lost.
    ///   - now: the wall clock, in milliseconds.
    /// - Returns: whether commits may be lost.
    package func restart(losesUnsynced: Bool, now: WallTime, random: inout SeededGenerator) -> Bool {
        rollback()
        stale = StaleRevisions(manyStale: 4, leastInCommit: 2)
        isPowerCut = false
        callsUntilPowerCut = nil
        fault = .none
        isBlind = false
        guard losesUnsynced, !syncsCommits else { return false }
        // As SQLiteStore's Meta.open does it: a new epoch, and the clock past everything that may have been seen.
        content = ([synced] + unsynced).randomElement(using: &random) ?? synced
        content.epoch = Epoch(random.next())
        content.bound = max(content.bound, Stamp(milliseconds: (now + 60_001).milliseconds))
        sync()
        return true
    }
}

extension SimulatedDisk {
    /// The greatest revision of a tombstone that was collected.
    var collectedRevision: Revision { content.collected.revision }

    /// The greatest stamp of a tombstone that was collected.
    var collectedStamp: Stamp { content.collected.stamp }
}
