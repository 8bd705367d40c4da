import Dispatch
import Foundation
import SQLiteStore
import SyncEngine
import Synchronization

/// The thread that moves the write-ahead log into the database when that has grown, up to a rest that only the writer can
/// move, since it goes on writing meanwhile.
final class CheckpointThread: Sendable {
    private let isDue = Mutex(false)
    private let isStopping = Mutex(false)
    private let isNearlyDone = Atomic(false)
    private let wake = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)

    /// Asks for a checkpoint; asking again before it is done changes nothing.
    func request() {
        let wasDue = isDue.withLock { due in
            defer { due = true }
            return due
        }
        if !wasDue { wake.signal() }
    }

    /// Whether the writer should move the rest, which is little. Says so once.
    func takeRest() -> Bool {
        isNearlyDone.load(ordering: .relaxed) && isNearlyDone.exchange(false, ordering: .relaxed)
    }

    /// - Parameter noteFailure: is told when the disk failed.
    func start(_ database: SQLiteDatabase, noteFailure: @escaping @Sendable (StoreError) -> Void) throws(StoreError) {
        nonisolated(unsafe) let checkpointer = try Checkpointer(database)
        let thread = Thread { [self] in
            ThreadRole.name("starling-ckpt")
            while true {
                wake.wait()
                if isStopping.withLock({ $0 }) { break }
                do throws(StoreError) {
                    if try checkpointer.moveMost() { isNearlyDone.store(true, ordering: .relaxed) }
                } catch {
                    noteFailure(error)
                }
                // A pause, so that a log that grows all the time is not checkpointed all the time.
                Thread.sleep(forTimeInterval: 0.03)
                isDue.withLock { $0 = false }
            }
            checkpointer.close()
            stopped.signal()
        }
        thread.name = "starling-checkpoint"
        thread.start()
    }

    func stop() {
        isStopping.withLock { $0 = true }
        wake.signal()
        stopped.wait()
    }
}
