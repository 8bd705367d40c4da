import Foundation

/// Files with the settings of other programs, which read them at any time.
enum SettingsFile {
    /// What is in one; nil: there is none.
    static func read(_ path: String) throws -> [UInt8]? {
        if let data = FileManager.default.contents(atPath: path) { return Array(data) }
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        throw UsageError("cannot read \(path)")
    }

    static func remove(_ path: String) throws {
        guard unlink(path) != 0, errno != ENOENT else { return }
        throw UsageError("cannot remove \(path): \(String(cString: strerror(errno)))")
    }

    /// All at once: a coding agent that reads the file meanwhile reads what was there, or what is. A link stays one.
    ///
    /// - Parameter model: the file whose owner and permissions it gets, where that is there.
    static func write(_ text: [UInt8], to path: String, like model: String) throws {
        let target = Self.target(of: path)
        guard (try? FileManager.default.destinationOfSymbolicLink(atPath: target)) == nil else {
            throw UsageError("\(path) is a link that leads nowhere")
        }
        do {
            try FileManager.default.createDirectory(
                at: URL(filePath: target).deletingLastPathComponent(), withIntermediateDirectories: true)
        } catch {
            throw UsageError("cannot make the folder of \(path): \(error.localizedDescription)")
        }
        if FileManager.default.fileExists(atPath: target), access(target, W_OK) != 0 {
            throw UsageError("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        let known = try? FileManager.default.attributesOfItem(atPath: Self.target(of: model))
        let temporary = target + ".new-\(ProcessInfo.processInfo.processIdentifier)"
        let permissions = (known?[.posixPermissions] as? NSNumber)?.intValue ?? newPermissions
        // Nobody is to read it before it has them.
        guard
            FileManager.default.createFile(atPath: temporary, contents: nil, attributes: [.posixPermissions: 0o600]),
            (try? Data(text).write(to: URL(filePath: temporary))) != nil, chmod(temporary, mode_t(permissions)) == 0
        else {
            unlink(temporary)
            throw UsageError("cannot write \(temporary)")
        }
        // Only root can give a file away; for others it is theirs already.
        if let user = known?[.ownerAccountID] as? NSNumber, let group = known?[.groupOwnerAccountID] as? NSNumber {
            _ = chown(temporary, user.uint32Value, group.uint32Value)
        }
        guard rename(temporary, target) == 0 else {
            defer { unlink(temporary) }
            throw UsageError("cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Those of a new file, as the process that makes it says.
    private static var newPermissions: Int {
        let mask = umask(0)
        umask(mask)
        return 0o666 & ~Int(mask)
    }

    /// Where a link leads to, also where nothing is there.
    private static func target(of path: String) -> String {
        var path = path
        for _ in 0..<8 {
            guard let next = try? FileManager.default.destinationOfSymbolicLink(atPath: path) else { break }
            path = next.hasPrefix("/") ? next : URL(filePath: path).deletingLastPathComponent().path + "/" + next
        }
        return path
    }
}
