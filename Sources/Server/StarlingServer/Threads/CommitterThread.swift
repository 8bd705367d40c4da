import Agents
import Dispatch
import Foundation
import Logging
import Registers
import SQLiteStore
import SyncEngine
import Synchronization

/// The one thread that writes to the database. While a commit waits for the disk the requests for the next one gather, so that a
/// durable acknowledgement costs one fsync for many.
final class CommitterThread: Sendable {
    private let mailbox = Mutex(CommitMailbox())
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let latestHead: Atomic<UInt64>
    private let statistics = Mutex(CommitStatistics())
    private let finalStamp = Mutex(Stamp.zero)
    private let mustRekey = Atomic(false)
    private let health: StoreHealth
    private let logger: Logger

    init(head: Revision, health: StoreHealth, logger: Logger) {
        latestHead = Atomic(head.rawValue)
        self.health = health
        self.logger = logger
    }

    /// The revision of the latest commit.
    var head: Revision { Revision(latestHead.load(ordering: .acquiring)) }

    var measured: CommitStatistics { statistics.withLock { $0 } }

    /// Queues writes; false when too many are waiting, and none of these was taken.
    func submit(_ requests: [WriteRequest]) -> Bool {
        switch mailbox.withLock({ $0.put(requests) }) {
        case .refused: return false
        case .queued: return true
        case .queuedForSleeper:
            wake.signal()
            return true
        }
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - publish: is given what each commit has changed, in order.
    ///   - checkpoints: is asked for one when the write-ahead log is worth it.
    func start(
        database: SQLiteDatabase, loops: Int, cacheSize: Int, retention: UInt64, taskRetention: UInt64,
        framing: @escaping Framing,
        publish: @escaping @Sendable (Committed) -> Void, checkpoints: CheckpointThread
    ) throws(StoreError) {
        // Made here, so that a failure is the caller's; used by the thread alone from then on.
        let writer = try database.makeWriter()
        var limits = SwarmRules.Limits()
        limits.retention = taskRetention
        var committer = Committer(
            store: writer, state: database.state, loops: loops, maximumDrift: database.configuration.maximumDrift,
            cacheSize: cacheSize, rules: SwarmRules(node: database.node, limits: limits), framing: framing)
        let publish: @Sendable (Committed) -> Void = { [self] commit in
            // Never behind what an event loop has been told.
            latestHead.store(commit.head.rawValue, ordering: .releasing)
            publish(commit)
        }
        mustRekey.store(database.needsRekeying, ordering: .relaxed)
        let hasEndedEphemerals = endEphemerals(&committer, publish: publish)
        let handover = Handover(committer)
        let thread = Thread { [self] in
            ThreadRole.name("starling-commit")
            guard let committer = handover.take() else { return }
            let upkeep = UpkeepSchedule(retention: retention, hasFailed: !hasEndedEphemerals, now: .now)
            let stamp = run(
                committer, upkeep, hasLeftovers: !hasEndedEphemerals, log: database.log, publish: publish,
                checkpoints: checkpoints)
            // Its connection to the database is closed by now: the last one to be closed removes the log.
            finalStamp.withLock { $0 = stamp }
            stopped.signal()
        }
        thread.name = "starling-commit"
        thread.stackSize = 1 << 20
        thread.start()
    }

    /// Gives the committer to the thread, and keeps nothing of it.
    private final class Handover: @unchecked Sendable {
        private var committer: Committer<SQLiteWriter, SwarmRules>?

        init(_ committer: Committer<SQLiteWriter, SwarmRules>) { self.committer = committer }

        func take() -> Committer<SQLiteWriter, SwarmRules>? {
            defer { committer = nil }
            return committer
        }
    }

    /// What the thread does until it is told to stop.
    ///
    /// - Parameter hasLeftovers: whether what was bound to connections of the last run is still there.
    /// - Returns: the greatest stamp issued.
    private func run(
        _ committer: consuming Committer<SQLiteWriter, SwarmRules>, _ upkeep: UpkeepSchedule, hasLeftovers: Bool,
        log: LogProgress,
        publish: @escaping @Sendable (Committed) -> Void, checkpoints: CheckpointThread
    ) -> Stamp {
        var committer = committer
        var upkeep = upkeep
        var hasLeftovers = hasLeftovers
        var isRekeying = false
        var delay = CommitDelay()
        while true {
            let pause =
                isRekeying
                ? 0
                : upkeep.pause(
                    until: committer.nextDue, wallClock: SystemClock.now(), now: .now,
                    hasStale: committer.store.canClean)
            guard let requests = take(timeout: pause, delay) else { return finish(committer) }
            let now = SystemClock.now()
            if !requests.isEmpty || committer.nextDue.map({ $0 <= now }) ?? false {
                let time = commit(requests, with: &committer, now: now, publish: publish)
                delay.note(count: requests.count, time: time)
                if !requests.isEmpty { upkeep.noteRequests(.now) }
                upkeep.noteCommit(hasFailed: health.hasFailed || hasLeftovers, now: .now)
            }
            if upkeep.takeLook(.now), let failure = lookAtFiles(committer.store) {
                note(failure)
                upkeep.noteCommit(hasFailed: true, now: .now)
            }
            if upkeep.isProbeDue(.now) {
                if hasLeftovers { hasLeftovers = !endEphemerals(&committer, publish: publish) }
                let (changes, failure) = committer.probe(now: now)
                publish(changes)
                note(failure)
                upkeep.probed(hasFailed: failure != nil || hasLeftovers, now: .now)
            }
            if mustRekey.load(ordering: .relaxed) { isRekeying = rekey(&committer) }
            if committer.store.canClean, upkeep.isCleaningDue(.now) { clean(committer.store, &upkeep) }
            if upkeep.isCollectionDue(.now) { collect(&committer, &upkeep, now: now, publish) }
            if checkpoints.takeRest() { finishCheckpoint(&committer, of: log) }
            if log.left >= SQLiteWriter.checkpointPages { checkpoints.request() }
        }
    }

    /// Deletes some of what is stale in the log of revisions.
    private func clean(_ writer: SQLiteWriter, _ upkeep: inout UpkeepSchedule) {
        do throws(StoreError) {
            try writer.clean()
        } catch {
            note(error)
            upkeep.noteCommit(hasFailed: true, now: .now)
        }
    }

    /// Leaves nothing stale for the next start to look for, if it can.
    ///
    /// - Returns: the greatest stamp issued.
    private func finish(_ committer: Committer<SQLiteWriter, SwarmRules>) -> Stamp {
        do throws(StoreError) {
            try committer.store.finishCleaning()
        } catch {
            logger.warning("Cleaning the log of revisions failed", metadata: ["error": "\(error)"])
        }
        return committer.lastStamp
    }

    /// Finds out whether the database's files are still those that were opened: else nothing that is written would be found again.
    private func lookAtFiles(_ writer: SQLiteWriter) -> StoreError? {
        do throws(StoreError) {
            try writer.checkFiles()
            return nil
        } catch {
            return error
        }
    }

    /// Forgets some old tombstones.
    private func collect(
        _ committer: inout Committer<SQLiteWriter, SwarmRules>, _ upkeep: inout UpkeepSchedule, now: WallTime,
        _ publish: (Committed) -> Void
    ) {
        let (changes, count, failure) = committer.collect(retention: upkeep.retention, now: now)
        publish(changes)
        if let failure {
            note(failure)
            upkeep.noteCommit(hasFailed: true, now: .now)
        }
        statistics.withLock { $0.collected += UInt64(count) }
        upkeep.collected(count, now: .now)
    }

    /// Ends what was bound to connections of the last run, before anyone is served. If that fails the server is not ready,
    /// and it is tried again every second.
    ///
    /// - Returns: whether all of it has ended.
    private func endEphemerals(_ committer: inout Committer<SQLiteWriter, SwarmRules>, publish: (Committed) -> Void)
        -> Bool
    {
        while true {
            let (commit, failure) = committer.endEphemerals(now: SystemClock.now())
            publish(commit)
            if let failure { note(failure) }
            if commit.changes.isEmpty { return failure == nil }
        }
    }

    /// Has all values encrypted with the current key, beside whatever else there is to do.
    func requestRekeying() {
        mustRekey.store(true, ordering: .relaxed)
        wake.signal()
    }

    /// Encrypts some values anew.
    ///
    /// - Returns: whether there may be more to do at once.
    private func rekey(_ committer: inout Committer<SQLiteWriter, SwarmRules>) -> Bool {
        do throws(StoreError) {
            if try committer.store.rekey(limit: 500) > 0 { return true }
            mustRekey.store(false, ordering: .relaxed)
            logger.notice("All values that can be are encrypted with the current key")
        } catch {
            // Tried again at the next start, or when the key file changes again.
            mustRekey.store(false, ordering: .relaxed)
            logger.error("Encrypting values with the current key failed", metadata: ["error": "\(error)"])
        }
        return false
    }

    /// - Returns: how many nanoseconds it took.
    private func commit(
        _ requests: [WriteRequest], with committer: inout Committer<SQLiteWriter, SwarmRules>, now: WallTime,
        publish: (Committed) -> Void
    ) -> UInt64 {
        let start = DispatchTime.now().uptimeNanoseconds
        var lastFailure: StoreError?
        var hasWritten = false
        committer.commit(requests, now: now) { commit, failure in
            // Before anybody is told: who asks after a refusal is to hear of the reason.
            if let failure { note(failure) }
            publish(commit)
            statistics.withLock { statistics in
                let answered = commit.results.reduce(0) { $0 + $1.count }
                statistics.expired += UInt64(commit.changes.count { $0.origin == .server })
                if failure == nil { statistics.writes += UInt64(answered) }
            }
            if let failure { lastFailure = failure }
            if commit.changes.contains(where: { $0.revision != nil }) { hasWritten = true }
        }
        let time = DispatchTime.now().uptimeNanoseconds - start
        if !requests.isEmpty {
            statistics.withLock { statistics in
                statistics.batchSize.observe(Double(requests.count))
                // What was refused without a word to the disk says nothing of it.
                if hasWritten || lastFailure != nil { statistics.latency.observe(Double(time) / 1e9) }
            }
        }
        // A transaction that wrote nothing says nothing of the disk.
        if hasWritten, lastFailure == nil { note(nil) }
        return time
    }

    /// Notes how a transaction went.
    private func note(_ failure: StoreError?) {
        statistics.withLock { $0.commits += 1 }
        health.noteCommit(failure)
    }

    /// Moves what the checkpoints beside this have left, if it is as little as they thought.
    private func finishCheckpoint(_ committer: inout Committer<SQLiteWriter, SwarmRules>, of log: LogProgress) {
        guard log.left <= SQLiteWriter.fewPages else { return }
        do throws(StoreError) {
            try committer.store.finishCheckpoint()
        } catch {
            health.noteCheckpointFailure(error)
        }
    }

    /// Waits for requests, and a little for more of them where there are usually more.
    ///
    /// - Parameter timeout: after how many milliseconds to come back without any.
    /// - Returns: nil when the thread is to stop, and nothing is left.
    private func take(timeout: UInt64, _ delay: CommitDelay) -> [WriteRequest]? {
        let deadline = DispatchTime.now() + .milliseconds(Int(timeout))
        var patience: DispatchTime?
        while true {
            let wanted = patience.map { $0 <= .now() } == true ? 1 : delay.wanted
            switch mailbox.withLock({ $0.look(wanted: wanted) }) {
            case .taken(let requests): return requests
            case .closed: return nil
            case .few:
                let end = patience ?? .now() + .nanoseconds(delay.patience)
                patience = end
                _ = wake.wait(timeout: end)
            case .none:
                if wake.wait(timeout: deadline) == .timedOut { return [] }
            }
        }
    }

    /// Takes no more writes, carries out those that are waiting, and ends the thread.
    ///
    /// - Returns: the greatest stamp issued.
    func stop() -> Stamp {
        mailbox.withLock { $0.close() }
        wake.signal()
        stopped.wait()
        return finalStamp.withLock { $0 }
    }
}
