import Foundation

/// A file that grows by whole lines, for as long as it is the one that its path leads to.
final class OutboxFile {
    private let path: String
    private let descriptor: Int32
    /// How long it is, as far as we have written it.
    private var size: Int

    /// A new file in the place of the one at a path, once it is whole and on the disk.
    ///
    /// - Throws: ``StarlingError`` `outbox_failed`; the old one is still there.
    init(replacing path: String, with content: Data) throws(StarlingError) {
        let temporary = path + ".new"
        self.path = path
        size = content.count
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.failure(temporary) }
        if !Self.write(content, descriptor) || fsync(descriptor) != 0 || rename(temporary, path) != 0 {
            // An initializer that throws runs no deinit.
            let failure = Self.failure(path)
            close(descriptor)
            unlink(temporary)
            throw failure
        }
    }

    /// The file at a path, to append to.
    init(openingAt path: String) throws(StarlingError) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0 else { throw Self.failure(path) }
        size = Int(status.st_size)
    }

    deinit { close(descriptor) }

    /// Refuses what no outbox could be kept in; a file that is not there yet is fine.
    ///
    /// - Throws: ``StarlingError`` `outbox_failed`.
    static func check(_ path: String) throws(StarlingError) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw StarlingError("outbox_failed", "\(path) is no file that an outbox could be kept in")
        }
        guard status.st_nlink == 1 else {
            throw StarlingError(
                "outbox_failed",
                "\(path) has \(status.st_nlink) names (hard links), and the lock goes by the name: remove the others")
        }
    }

    /// Appends whole lines.
    ///
    /// - Throws: ``StarlingError`` `outbox_failed`; then nothing was appended.
    func append(_ content: Data, fsync isForced: Bool) throws(StarlingError) {
        try checkIdentity()
        guard Self.write(content, descriptor), !isForced || fsync(descriptor) == 0 else {
            let failure = Self.failure(path)
            // Half a line would spoil the next one, and a whole one would be sent though the write failed.
            ftruncate(descriptor, off_t(size))
            throw failure
        }
        size += content.count
    }

    /// What is written into a file that nobody finds any more, or that was cut off, is lost.
    private func checkIdentity() throws(StarlingError) {
        var there = stat()
        var ours = stat()
        guard stat(path, &there) == 0, fstat(descriptor, &ours) == 0, there.st_ino == ours.st_ino,
            there.st_dev == ours.st_dev, Int(there.st_size) == size
        else {
            throw StarlingError(
                "outbox_failed", "\(path) was removed, replaced or changed by somebody else: it keeps nothing more")
        }
    }

    private static func write(_ content: Data, _ descriptor: Int32) -> Bool {
        content.withUnsafeBytes { bytes in
            var done = 0
            while done < bytes.count {
                let count = Foundation.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                done += count
            }
            return true
        }
    }

    private static func failure(_ path: String) -> StarlingError {
        StarlingError("outbox_failed", "the outbox \(path) cannot be written: \(String(cString: strerror(errno)))")
    }
}
