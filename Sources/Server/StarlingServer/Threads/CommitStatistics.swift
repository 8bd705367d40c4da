import SQLiteStore
import SyncEngine

/// What the committer has done so far.
struct CommitStatistics: Sendable {
    var commits: UInt64 = 0
    var writes: UInt64 = 0
    var failures: UInt64 = 0
    /// Writes per commit.
    var batchSize = Histogram(bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096])
    /// Seconds from taking a batch up to having it on the disk.
    var latency = Histogram(bounds: [
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
    ])
    /// Why the database refused the last batch; nil if it did not.
    var lastFailure: String?
    /// What of the database was found to be damaged. That does not pass by itself.
    var damage: String?
    /// Why the database cannot be relied on without its log. That does not pass by itself either.
    var lostSync: String?
    var readFailures: UInt64 = 0
    var expired: UInt64 = 0
    var collected: UInt64 = 0

    /// Why the server cannot do all that it should; nil if it can.
    var problem: String? {
        damage.map { "the database is damaged: \($0); stop the server, run starling check, and restore a backup" }
            ?? lostSync.map {
                "\($0); commits are safe in the log, which grows: mend the disk, and restart the server"
            } ?? lastFailure
    }

    mutating func note(_ failure: StoreError) {
        if failure.isDamage { damage = failure.description }
        if failure.isLostSync { lostSync = failure.description }
    }
}
