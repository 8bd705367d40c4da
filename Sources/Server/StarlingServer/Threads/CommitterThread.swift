import Dispatch
import Foundation
import Logging
import Registers
import SQLiteStore
import SyncEngine
import Synchronization

/// The one thread that writes to the database. While a commit waits for the disk the next batch gathers, so that a
/// durable acknowledgement costs one fsync for many.
final class CommitterThread: Sendable {
    /// How much may be waiting for the disk: beyond, writes are refused as `overloaded`.
    private static let maximumQueuedCost = 256 << 20
    /// How many rows go into one commit, so that the first write of a batch does not wait for ever for the last one.
    private static let maximumBatch = 4_096
    private static let maximumBatchCost = 16 << 20

    private struct Mailbox {
        var requests: [WriteRequest] = []
        var cost = 0
        /// How many rows they may change.
        var rows = 0
        var isStopping = false
        /// The thread sleeps, and wants to be woken when so many requests are there; nil: it is awake.
        var wakeAt: Int?
    }

    private let mailbox = Mutex(Mailbox())
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let latestHead: Atomic<UInt64>
    private let statistics = Mutex(CommitStatistics())
    private let finalStamp = Mutex(Stamp.zero)
    private let mustRekey = Atomic(false)
    private let logger: Logger

    init(head: UInt64, logger: Logger) {
        latestHead = Atomic(head)
        self.logger = logger
    }

    /// The revision of the latest commit.
    var head: UInt64 { latestHead.load(ordering: .acquiring) }

    var measured: CommitStatistics { statistics.withLock { $0 } }

    /// Queues writes; false when too many are waiting, and none of these was taken.
    func submit(_ requests: [WriteRequest]) -> Bool {
        let cost = requests.reduce(0) { $0 + $1.cost }
        let rows = requests.reduce(0) { $0 + $1.rows }
        let (isTaken, mustWake) = mailbox.withLock { mailbox in
            // An empty queue takes anything: one write may be greater than the limit.
            guard !mailbox.isStopping, mailbox.requests.isEmpty || mailbox.cost + cost <= Self.maximumQueuedCost else {
                return (false, false)
            }
            mailbox.requests += requests
            mailbox.cost += cost
            mailbox.rows += rows
            guard let wakeAt = mailbox.wakeAt, mailbox.requests.count >= wakeAt else { return (true, false) }
            mailbox.wakeAt = nil
            return (true, true)
        }
        if mustWake { wake.signal() }
        return isTaken
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - publish: is given every batch, in order.
    ///   - checkpoints: is asked for one when the write-ahead log is worth it.
    func start(
        database: SQLiteDatabase, loops: Int, cacheSize: Int, retention: UInt64, framing: @escaping Framing,
        publish: @escaping @Sendable (CommittedChanges) -> Void, checkpoints: CheckpointThread
    ) throws(StoreError) {
        // Made here, so that a failure is the caller's; used by the thread alone from then on.
        let writer = try database.makeWriter()
        var committer = Committer(
            store: writer, state: database.state, loops: loops, maximumDrift: database.configuration.maximumDrift,
            cacheSize: cacheSize, framing: framing)
        let publish: @Sendable (CommittedChanges) -> Void = { [self] batch in
            // Never behind what an event loop has been told.
            latestHead.store(batch.head, ordering: .releasing)
            publish(batch)
        }
        mustRekey.store(database.needsRekeying, ordering: .relaxed)
        let hasEndedEphemerals = endEphemerals(&committer, publish: publish)
        let handover = Handover(committer)
        let thread = Thread { [self] in
            ThreadRole.name("starling-commit")
            guard let committer = handover.take() else { return }
            let upkeep = Upkeep(retention: retention, mustEndEphemerals: !hasEndedEphemerals)
            let stamp = run(committer, upkeep, log: database.log, publish: publish, checkpoints: checkpoints)
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
        private var committer: Committer<SQLiteWriter>?

        init(_ committer: Committer<SQLiteWriter>) { self.committer = committer }

        func take() -> Committer<SQLiteWriter>? {
            defer { committer = nil }
            return committer
        }
    }

    /// What the thread does until it is told to stop.
    ///
    /// - Returns: the greatest stamp issued.
    private func run(
        _ committer: consuming Committer<SQLiteWriter>, _ upkeep: Upkeep, log: LogProgress,
        publish: @escaping @Sendable (CommittedChanges) -> Void, checkpoints: CheckpointThread
    ) -> Stamp {
        var committer = committer
        var upkeep = upkeep
        var delay = CommitDelay()
        while let requests = take(timeout: upkeep.pause(committer.nextExpiry, now: SystemClock.now()), delay) {
            let now = SystemClock.now()
            if !requests.isEmpty || (committer.nextExpiry ?? .max) <= now {
                let time = commit(requests, with: &committer, now: now, publish: publish)
                delay.note(count: requests.count, time: time)
                upkeep.hasFailed = measured.lastFailure != nil
            }
            if upkeep.mustEndEphemerals, upkeep.isProbeDue {
                upkeep.mustEndEphemerals = !endEphemerals(&committer, publish: publish)
            }
            if mustRekey.load(ordering: .relaxed) { upkeep.hasMore = rekey(&committer) }
            let collected = upkeep.run(now: now, with: &committer, publish: publish, note: note)
            statistics.withLock { $0.collected += UInt64(collected) }
            if checkpoints.takeRest() { finishCheckpoint(&committer, of: log) }
            if log.left >= SQLiteWriter.checkpointPages { checkpoints.request() }
        }
        return committer.lastStamp
    }

    /// Ends what was bound to connections of the last run, before anyone is served. If that fails the server is not ready,
    /// and it is tried again every second.
    ///
    /// - Returns: whether all of it has ended.
    private func endEphemerals(_ committer: inout Committer<SQLiteWriter>, publish: (CommittedChanges) -> Void) -> Bool
    {
        while true {
            let (batch, failure) = committer.endEphemerals(now: SystemClock.now())
            publish(batch)
            if let failure { note(failure) }
            if batch.changes.isEmpty { return failure == nil }
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
    private func rekey(_ committer: inout Committer<SQLiteWriter>) -> Bool {
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
        _ requests: [WriteRequest], with committer: inout Committer<SQLiteWriter>, now: UInt64,
        publish: (CommittedChanges) -> Void
    ) -> UInt64 {
        let start = DispatchTime.now().uptimeNanoseconds
        var lastFailure: StoreError?
        var hasWritten = false
        committer.commit(requests, now: now) { batch, failure in
            publish(batch)
            statistics.withLock { statistics in
                let answered = batch.results.reduce(0) { $0 + $1.count }
                statistics.expired += UInt64(batch.changes.count { $0.origin == .server })
                if failure == nil { statistics.writes += UInt64(answered) }
            }
            if let failure { lastFailure = failure }
            if batch.changes.contains(where: { $0.revision != nil }) { hasWritten = true }
        }
        let time = DispatchTime.now().uptimeNanoseconds - start
        if !requests.isEmpty {
            statistics.withLock { statistics in
                statistics.batchSize.observe(Double(requests.count))
                statistics.latency.observe(Double(time) / 1e9)
            }
        }
        // A transaction that wrote nothing says nothing of the disk.
        if hasWritten || lastFailure != nil { note(lastFailure) }
        return time
    }

    /// Notes how a transaction went.
    private func note(_ failure: StoreError?) {
        statistics.withLock { statistics in
            statistics.commits += 1
            statistics.lastFailure = failure?.description
            guard let failure else { return }
            statistics.failures += 1
            statistics.note(failure)
        }
        if let failure { logger.error("Commit failed", metadata: ["error": "\(failure)"]) }
    }

    /// Notes that something could not be read; from any thread.
    func noteReadFailure(_ failure: StoreError) {
        statistics.withLock { statistics in
            statistics.readFailures += 1
            statistics.note(failure)
        }
        logger.error("Reading failed", metadata: ["error": "\(failure)"])
    }

    /// Notes that the log could not be moved into the database; from any thread.
    func noteCheckpointFailure(_ failure: StoreError) {
        statistics.withLock { $0.note(failure) }
        logger.error("Checkpoint failed", metadata: ["error": "\(failure)"])
    }

    /// Moves what the checkpoints beside this have left, if it is as little as they thought.
    private func finishCheckpoint(_ committer: inout Committer<SQLiteWriter>, of log: LogProgress) {
        guard log.left <= SQLiteWriter.fewPages else { return }
        do throws(StoreError) {
            try committer.store.finishCheckpoint()
        } catch {
            noteCheckpointFailure(error)
        }
    }

    /// What the thread does when nobody wants anything of it.
    private struct Upkeep {
        let retention: UInt64
        var hasFailed = false
        /// Whether something goes on as soon as nobody wants anything.
        var hasMore = false
        /// Whether what was bound to connections of the last run is still there.
        var mustEndEphemerals: Bool
        private var nextCollection = DispatchTime.now() + .seconds(1)
        private var nextProbe = DispatchTime.now()

        init(retention: UInt64, mustEndEphemerals: Bool) {
            self.retention = retention
            self.mustEndEphemerals = mustEndEphemerals
            hasFailed = mustEndEphemerals
        }

        var isProbeDue: Bool { hasFailed && nextProbe <= .now() }

        /// How long to wait for requests, in milliseconds. At most a second: the wall clock may be set.
        func pause(_ nextExpiry: UInt64?, now: UInt64) -> UInt64 {
            if hasMore { return 0 }
            let due = min(nextCollection, hasFailed ? nextProbe : .distantFuture)
            let start = DispatchTime.now()
            let left = due <= start ? 0 : (due.uptimeNanoseconds - start.uptimeNanoseconds) / 1_000_000 + 1
            guard let nextExpiry else { return min(left, 1_000) }
            return nextExpiry <= now ? 0 : min(left, nextExpiry - now, 1_000)
        }

        /// - Returns: how many tombstones are forgotten.
        mutating func run(
            now: UInt64, with committer: inout Committer<SQLiteWriter>, publish: (CommittedChanges) -> Void,
            note: (StoreError?) -> Void
        ) -> Int {
            if isProbeDue {
                let (batch, failure) = committer.probe(now: now)
                publish(batch)
                note(failure)
                hasFailed = failure != nil || mustEndEphemerals
                nextProbe = .now() + .seconds(1)
            }
            guard nextCollection <= .now() else { return 0 }
            let (batch, count, failure) = committer.collect(retention: retention, now: now)
            publish(batch)
            if let failure {
                note(failure)
                hasFailed = true
            }
            // The rest of many at once; else a look now and then.
            nextCollection = .now() + .milliseconds(count > 0 ? 0 : Int(min(60_000, max(1_000, retention / 4))))
            return count
        }
    }

    private enum Look {
        case taken([WriteRequest])
        case few
        case none
        case stopping
    }

    /// Waits for requests, and a little for more of them where there are usually more.
    ///
    /// - Parameter timeout: after how many milliseconds to come back without any.
    /// - Returns: nil when the thread is to stop, and nothing is left.
    private func take(timeout: UInt64, _ delay: CommitDelay) -> [WriteRequest]? {
        let deadline = DispatchTime.now() + .milliseconds(Int(timeout))
        var patience: DispatchTime?
        while true {
            switch look(wanted: patience.map { $0 <= .now() } == true ? 1 : delay.wanted) {
            case .taken(let requests): return requests
            case .stopping: return nil
            case .few:
                let end = patience ?? .now() + .nanoseconds(delay.patience)
                patience = end
                _ = wake.wait(timeout: end)
            case .none:
                if wake.wait(timeout: deadline) == .timedOut { return [] }
            }
        }
    }

    private func look(wanted: Int) -> Look {
        mailbox.withLock { mailbox in
            let count = mailbox.requests.count
            if count == 0, mailbox.isStopping { return .stopping }
            if count > 0, count >= wanted || mailbox.isStopping {
                mailbox.wakeAt = nil
                return .taken(Self.takeBatch(of: &mailbox))
            }
            mailbox.wakeAt = count == 0 ? 1 : wanted
            return count == 0 ? .none : .few
        }
    }

    private static func takeBatch(of mailbox: inout Mailbox) -> [WriteRequest] {
        if mailbox.rows <= maximumBatch, mailbox.cost <= maximumBatchCost {
            let taken = mailbox.requests
            mailbox.requests = []
            mailbox.cost = 0
            mailbox.rows = 0
            return taken
        }
        var count = 0
        var cost = 0
        var rows = 0
        while count < mailbox.requests.count, count == 0 || cost < maximumBatchCost && rows < maximumBatch {
            cost += mailbox.requests[count].cost
            rows += mailbox.requests[count].rows
            count += 1
        }
        let taken = Array(mailbox.requests[..<count])
        mailbox.requests.removeFirst(count)
        mailbox.cost -= cost
        mailbox.rows -= rows
        return taken
    }

    /// Takes no more writes, carries out those that are waiting, and ends the thread.
    ///
    /// - Returns: the greatest stamp issued.
    func stop() -> Stamp {
        mailbox.withLock { $0.isStopping = true }
        wake.signal()
        stopped.wait()
        return finalStamp.withLock { $0 }
    }
}
