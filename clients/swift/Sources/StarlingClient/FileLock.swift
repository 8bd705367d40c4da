import Foundation
import Synchronization

/// A file that one process uses at a time: a lock on `<path>.lock`, which the system lets go of when the process ends. The file says who
/// has it, for people and for the clients in languages that have no such locks: `flock <pid>` where there is one of the system's, else
/// `pid <pid>`.
final class FileLock: Sendable {
    private let descriptor: Int32

    /// - Throws: ``StarlingError`` `outbox_failed`: somebody else has it.
    init(beside path: String) throws(StarlingError) {
        let lockPath = path + ".lock"
        descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw StarlingError("outbox_failed", "the outbox cannot be locked: \(String(cString: strerror(errno)))")
        }
        let isLocked = flock(descriptor, LOCK_EX | LOCK_NB) == 0
        let holder = Self.holder(descriptor)
        // A lock of the system's that we could have is nobody's, whatever the file says.
        let isTaken = !isLocked || (holder.map { $0.kind != "flock" && Self.isAlive($0.process) } ?? false)
        if isTaken {
            close(descriptor)
            let name = holder.map { "process \($0.process)" } ?? "another process"
            throw StarlingError("outbox_failed", "\(path) is in use by \(name) (\(lockPath))")
        }
        ftruncate(descriptor, 0)
        let text = Array("flock \(getpid())".utf8)
        _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    deinit {
        // Not removed: somebody may be waiting for just this file.
        ftruncate(descriptor, 0)
        close(descriptor)
    }

    private static func holder(_ descriptor: Int32) -> (kind: String, process: pid_t)? {
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        let words = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: " ")
        guard words.count == 2, let process = pid_t(words[1]) else { return nil }
        return (String(words[0]), process)
    }

    private static func isAlive(_ process: pid_t) -> Bool {
        process != getpid() && (kill(process, 0) == 0 || errno != ESRCH)
    }
}
