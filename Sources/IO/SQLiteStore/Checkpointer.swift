import GRDB
import GRDBSQLite
package import SyncEngine

/// Moves the write-ahead log into the database, on a connection of its own, so that no commit waits for it: that halves
/// the 99th percentile of a commit. To be used by one thread.
package final class Checkpointer {
    /// How often the log is looked at again for what was written meanwhile.
    private static let rounds = 4

    private let queue: DatabaseQueue
    private let log: LogProgress
    /// How many checkpoints were begun.
    package private(set) var count = 0
    /// Whether what was moved is on the disk.
    private var isSynced = true

    package init(_ database: SQLiteDatabase) throws(StoreError) {
        log = database.log
        do {
            var settings = GRDB.Configuration()
            settings.label = "starling checkpoint"
            queue = try DatabaseQueue(path: database.lock.path, configuration: settings)
        } catch {
            throw StoreError("cannot open \(database.configuration.path) for checkpoints: \(error)")
        }
    }

    /// Moves what can be moved without waiting for anyone, and syncs the database, so that the writer has little of either left
    /// to do: ``SQLiteWriter/finishCheckpoint()``.
    ///
    /// - Returns: whether that little is all that is left.
    /// - Throws: ``StoreError`` where the disk fails; see ``LogProgress/mayCheckpoint``.
    package func moveMost() throws(StoreError) -> Bool {
        guard log.mayCheckpoint else { return false }
        try move()
        try sync()
        // What was written during the sync.
        try move()
        return log.left <= SQLiteWriter.fewPages
    }

    private func move() throws(StoreError) {
        // Never where nothing is left: see LogProgress.
        for _ in 0..<Self.rounds where log.left > 0 {
            count += 1
            do {
                let result = try queue.writeWithoutTransaction { try $0.checkpoint(.passive) }
                log.moved(result.checkpointedFrameCount)
                // SQLite itself syncs only where nothing was written meanwhile, and does not say whether.
                isSynced = false
            } catch let error as DatabaseError {
                let code = error.extendedResultCode.rawValue
                // Somebody else is at it.
                if error.resultCode == .SQLITE_BUSY { return }
                log.failed(code)
                throw .checkpoint(code, error.message ?? "unknown")
            } catch {
                throw StoreError("checkpoint failed: \(error)")
            }
            if log.left <= SQLiteWriter.fewPages { return }
        }
    }

    private func sync() throws(StoreError) {
        if isSynced { return }
        let code: Int32
        code = queue.writeWithoutTransaction { database in
            var file: UnsafeMutablePointer<sqlite3_file>?
            let found = sqlite3_file_control(
                database.sqliteConnection, "main", SQLITE_FCNTL_FILE_POINTER, &file)
            guard found == SQLITE_OK, let file else { return found }
            return file.pointee.pMethods.pointee.xSync(file, SQLITE_SYNC_NORMAL)
        }
        guard code == SQLITE_OK else {
            log.failed(code)
            throw .checkpoint(code, "the database's file could not be synced")
        }
        isSynced = true
    }

    package func close() {
        try? queue.close()
    }
}
