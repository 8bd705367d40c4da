import GRDB
package import SyncEngine
import Synchronization

/// Moves the write-ahead log into the database, on a connection of its own, so that no commit waits for it: that halves
/// the 99th percentile of a commit. To be used by one thread.
package final class Checkpointer {
    private let queue: DatabaseQueue

    package init(_ database: SQLiteDatabase) throws(StoreError) {
        do {
            var settings = GRDB.Configuration()
            settings.label = "starling checkpoint"
            queue = try DatabaseQueue(path: database.configuration.path, configuration: settings)
        } catch {
            throw StoreError("cannot open \(database.configuration.path) for checkpoints: \(error)")
        }
    }

    /// Moves what can be moved without waiting for anyone.
    ///
    /// - Returns: how many pages of the log are left: those that were written meanwhile, and those that a reader still needs.
    @discardableResult
    package func checkpoint() throws(StoreError) -> Int {
        do {
            let result = try queue.writeWithoutTransaction { try $0.checkpoint(.passive) }
            return max(0, result.walFrameCount - result.checkpointedFrameCount)
        } catch {
            throw StoreError("checkpoint failed: \(error)")
        }
    }

    package func close() {
        try? queue.close()
    }
}
