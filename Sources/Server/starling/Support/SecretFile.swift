import Foundation
import StarlingServer

/// A file of secrets that commands change while servers read it: the access file, the file of encryption keys.
struct SecretFile {
    let path: String

    /// The file itself, where the path is a link to it.
    private var target: String { URL(filePath: path).resolvingSymlinksInPath().path }

    /// What is in it; nil where there is no such file.
    func read() throws -> Data? {
        if let data = FileManager.default.contents(atPath: path) { return data }
        if FileManager.default.fileExists(atPath: path) { throw ServerError("cannot read \(path)") }
        return nil
    }

    /// Changes the file, one command at a time: two that read it before either wrote it would lose what one of them did.
    ///
    /// - Parameter body: is given what is in the file, and gives what is to be.
    func change<Result>(_ body: (Data?) throws -> (Data, Result)) throws -> Result {
        let lockPath = target + ".lock"
        let lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(lock) }
        guard lock >= 0, flock(lock, LOCK_EX) == 0 else { throw failure("lock", lockPath) }
        let (data, result) = try body(read())
        try replace(data)
        return result
    }

    /// Puts `data` in the place of what is there, all at once and on the disk for good: what a server encrypts with a new key
    /// would be lost with it. The file stays whose it was; a new one is for its owner's eyes only.
    private func replace(_ data: Data) throws {
        let target = target
        let temporary = "\(target).new-\(ProcessInfo.processInfo.processIdentifier)"
        let old = try? FileManager.default.attributesOfItem(atPath: target)
        guard
            FileManager.default.createFile(
                atPath: temporary, contents: data,
                attributes: [.posixPermissions: old?[.posixPermissions] ?? 0o600])
        else { throw failure("write", temporary) }
        do {
            if let owner = old?[.ownerAccountID] as? Int, let group = old?[.groupOwnerAccountID] as? Int,
                chown(temporary, uid_t(owner), gid_t(group)) != 0
            {
                throw ServerError("cannot keep \(path) its owner's: run this as the user that it belongs to")
            }
            try synchronize(temporary)
            guard rename(temporary, target) == 0 else { throw failure("write", target) }
            try synchronize(URL(filePath: target).deletingLastPathComponent().path)
        } catch {
            try? FileManager.default.removeItem(atPath: temporary)
            throw error
        }
    }

    /// Has a file, or the names in a folder, written to the disk.
    private func synchronize(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        defer { close(descriptor) }
        guard descriptor >= 0, fsync(descriptor) == 0 else { throw failure("sync", path) }
    }

    private func failure(_ what: String, _ path: String) -> ServerError {
        ServerError("cannot \(what) \(path): \(String(cString: strerror(errno)))")
    }
}
