import GRDBSQLite
package import SyncEngine
import Synchronization

/// How far the write-ahead log has got, and how much of it is in the database: what the writer and the checkpoints beside it
/// have to know of each other.
///
/// **No checkpoint is begun on a log that is in the database already**: SQLite before 3.51.3 can take one that overlaps with the
/// commit which starts the log over for one of the new log, and then loses commits
/// (https://sqlite.org/wal.html#walresetbug). While anything is left, no commit starts the log over.
package final class LogProgress: Sendable {
    private struct State {
        /// The pages in the log after the last commit.
        var written = 0
        /// How many of them are in the database.
        var moved = 0
        var hasLostSync = false
    }

    private let state = Mutex(State())

    init() {}

    /// How many pages of the log are not in the database.
    package var left: Int { state.withLock { max(0, $0.written - $0.moved) } }

    /// False once the database could not be synced. The kernel says so once, and takes its pages for written from then on: what
    /// was moved is safe in the log only. That is read anew at the next start, and must not be written over before.
    package var mayCheckpoint: Bool { state.withLock { !$0.hasLostSync } }

    /// The writer has committed.
    func written(_ pages: Int) {
        state.withLock { $0.written = pages }
    }

    /// A checkpoint says how much of the log is in the database.
    func moved(_ pages: Int) {
        state.withLock { state in
            state.moved = pages
            // The next commit starts the log over, unless a reader needs it. Then that counts for more than is left, which the
            // next checkpoint sets right.
            if pages >= state.written { (state.written, state.moved) = (0, 0) }
        }
    }

    /// A checkpoint has failed.
    func failed(_ code: Int32) {
        if code == StoreError.lostSync { state.withLock { $0.hasLostSync = true } }
    }
}

extension StoreError {
    /// SQLITE_IOERR_FSYNC: what SQLite's header has as an expression, which Swift does not see.
    fileprivate static let lostSync: Int32 = 10 | 4 << 8

    /// Whether the database itself could not be synced, so that only its log is to be trusted.
    package var isLostSync: Bool { code == Self.lostSync && description.hasPrefix(Self.checkpointFailed) }

    private static let checkpointFailed = "checkpoint failed"

    /// Whoever syncs the database, SQLite or its caller, a sync that fails is told in the same words.
    static func checkpoint(_ code: Int32, _ message: String) -> StoreError {
        let what = code == lostSync ? "the database could not be synced" : message
        return StoreError("\(checkpointFailed): \(what) (SQLite \(code))", code: code)
    }
}
