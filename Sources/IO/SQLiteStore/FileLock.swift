import Foundation
import SyncEngine
import Synchronization

/// Keeps a second server off a database: an advisory lock on a file beside it, which the kernel lets go of when this
/// process ends, however it ends.
final class FileLock: Sendable {
    private let descriptor: Int32
    private let isHeld = Mutex(false)

    /// - Throws: ``StoreError`` that names the process that holds the lock.
    init(beside path: String) throws(StoreError) {
        let lockPath = path + ".lock"
        descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw StoreError("cannot create \(lockPath): \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let holder = (try? String(contentsOfFile: lockPath, encoding: .utf8)) ?? ""
            close(descriptor)
            let process = holder.isEmpty ? "another process" : "process \(holder)"
            throw StoreError("\(path) is in use by \(process); stop that one, or choose another file")
        }
        isHeld.withLock { $0 = true }
        let text = Array("\(getpid())".utf8)
        ftruncate(descriptor, 0)
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    deinit { release() }

    /// Lets the next server have the database.
    func release() {
        let wasHeld = isHeld.withLock { held in
            defer { held = false }
            return held
        }
        guard wasHeld else { return }
        ftruncate(descriptor, 0)
        close(descriptor)
    }
}
