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
    /// How much goes into one commit, so that the first write of a batch does not wait for ever for the last one.
    private static let maximumBatch = 4_096
    private static let maximumBatchCost = 16 << 20

    private struct Mailbox {
        var requests: [WriteRequest] = []
        var cost = 0
        var isStopping = false
        /// Whether the thread sleeps and wants to be woken.
        var isAsleep = false
    }

    private let mailbox = Mutex(Mailbox())
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let latestHead: Atomic<UInt64>
    private let statistics = Mutex(CommitStatistics())
    private let finalStamp = Mutex(Stamp.zero)
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
        let (isTaken, mustWake) = mailbox.withLock { mailbox in
            // An empty queue takes anything: one write may be greater than the limit.
            guard !mailbox.isStopping, mailbox.requests.isEmpty || mailbox.cost + cost <= Self.maximumQueuedCost else {
                return (false, false)
            }
            mailbox.requests += requests
            mailbox.cost += cost
            defer { mailbox.isAsleep = false }
            return (true, mailbox.isAsleep)
        }
        if mustWake { wake.signal() }
        return isTaken
    }

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - publish: is given every batch, in order.
    ///   - logGrew: is called when the write-ahead log is worth a checkpoint.
    func start(
        database: SQLiteDatabase, loops: Int, cacheSize: Int, framing: @escaping Framing,
        publish: @escaping @Sendable (CommittedBatch) -> Void, logGrew: @escaping @Sendable () -> Void
    ) throws(StoreError) {
        // Made here, so that a failure is the caller's; used by the thread alone from then on.
        nonisolated(unsafe) let writer = try database.makeWriter()
        let maximumDrift = database.configuration.maximumDrift
        let state = database.state
        let thread = Thread { [self] in
            var committer = Committer(
                store: writer, state: state, loops: loops, maximumDrift: maximumDrift, cacheSize: cacheSize,
                framing: framing)
            while let requests = take() {
                commit(requests, with: &committer, publish: publish)
                if writer.logPages >= SQLiteWriter.checkpointPages { logGrew() }
            }
            let stamp = committer.lastStamp
            finalStamp.withLock { $0 = stamp }
            stopped.signal()
        }
        thread.name = "starling-commit"
        thread.stackSize = 1 << 20
        thread.start()
    }

    private func commit(
        _ requests: [WriteRequest], with committer: inout Committer<SQLiteWriter>,
        publish: (CommittedBatch) -> Void
    ) {
        let start = DispatchTime.now().uptimeNanoseconds
        let (batch, failure) = committer.commit(requests, now: SystemClock.now())
        let seconds = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e9
        latestHead.store(committer.head, ordering: .releasing)
        publish(batch)
        statistics.withLock { statistics in
            statistics.commits += 1
            statistics.writes += UInt64(requests.count)
            statistics.batchSize.observe(Double(requests.count))
            statistics.latency.observe(seconds)
            statistics.lastFailure = failure?.description
            if failure != nil { statistics.failures += 1 }
        }
        if let failure {
            logger.error("Commit failed", metadata: ["error": "\(failure)", "writes": "\(requests.count)"])
        }
    }

    /// Waits for writes.
    ///
    /// - Returns: nil when the thread is to stop, and nothing is left.
    private func take() -> [WriteRequest]? {
        while true {
            let (requests, isStopping) = mailbox.withLock { mailbox in
                let taken = Self.takeBatch(of: &mailbox)
                if taken.isEmpty { mailbox.isAsleep = true }
                return (taken, mailbox.isStopping)
            }
            if !requests.isEmpty { return requests }
            if isStopping { return nil }
            wake.wait()
        }
    }

    private static func takeBatch(of mailbox: inout Mailbox) -> [WriteRequest] {
        if mailbox.requests.count <= maximumBatch, mailbox.cost <= maximumBatchCost {
            let taken = mailbox.requests
            mailbox.requests = []
            mailbox.cost = 0
            return taken
        }
        var count = 0
        var cost = 0
        while count < min(mailbox.requests.count, maximumBatch), count == 0 || cost < maximumBatchCost {
            cost += mailbox.requests[count].cost
            count += 1
        }
        let taken = Array(mailbox.requests[..<count])
        mailbox.requests.removeFirst(count)
        mailbox.cost -= cost
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
