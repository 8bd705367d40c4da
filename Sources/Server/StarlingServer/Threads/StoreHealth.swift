import Logging
import SQLiteStore
import SyncEngine
import Synchronization

/// Whether the database can be relied on, as the committer, the readers and the checkpoints find it.
final class StoreHealth: Sendable {
    private struct State {
        /// Why the database refused the last commit; nil if it did not.
        var lastFailure: StoreError?
        /// What of the database was found to be damaged. That does not pass by itself.
        var damage: StoreError?
        /// Why the database cannot be relied on without its log. That does not pass by itself either.
        var lostSync: StoreError?
        var commitFailures: UInt64 = 0
        var readFailures: UInt64 = 0

        mutating func note(_ failure: StoreError) {
            if failure.isDamage { damage = failure }
            if failure.isLostSync { lostSync = failure }
        }
    }

    private let state = Mutex(State())
    private let logger: Logger

    init(logger: Logger) {
        self.logger = logger
    }

    /// Why the server cannot do all that it should; nil if it can.
    var problem: String? {
        state.withLock { state in
            state.damage.map {
                "the database is damaged: \($0); stop the server, run starling check, and restore a backup"
            }
                ?? state.lostSync.map {
                    "\($0); commits are safe in the log, which grows: mend the disk, and restart the server"
                } ?? state.lastFailure?.description
        }
    }

    /// Whether the database refused the last commit.
    var hasFailed: Bool { state.withLock { $0.lastFailure != nil } }
    /// How many commits the database has refused, and how many reads.
    var failures: (commits: UInt64, reads: UInt64) { state.withLock { ($0.commitFailures, $0.readFailures) } }

    /// A commit was made, or refused.
    func noteCommit(_ failure: StoreError?) {
        state.withLock { state in
            state.lastFailure = failure
            guard let failure else { return }
            state.commitFailures += 1
            state.note(failure)
        }
        if let failure { logger.error("Commit failed", metadata: ["error": "\(failure)"]) }
    }

    /// Something could not be read.
    func noteReadFailure(_ failure: StoreError) {
        state.withLock { state in
            state.readFailures += 1
            state.note(failure)
        }
        logger.error("Reading failed", metadata: ["error": "\(failure)"])
    }

    /// The log could not be checkpointed.
    func noteCheckpointFailure(_ failure: StoreError) {
        state.withLock { $0.note(failure) }
        logger.error("Checkpoint failed", metadata: ["error": "\(failure)"])
    }
}
