import Agents
import Foundation

/// A file with the settings of a coding agent.
struct HookSettingsFile {
    let path: String
    let layout: HookSettings.Layout

    /// What the file was before our handlers were put in.
    private var backup: String { path + ".before-starling" }

    private func read(_ path: String) throws -> [UInt8]? {
        if let data = FileManager.default.contents(atPath: path) { return Array(data) }
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        throw UsageError("cannot read \(path)")
    }

    /// Where what is wrong with settings is said.
    private func naming<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as SettingsError {
            throw UsageError("\(path): \(error)")
        }
    }

    /// What is in it; nil: there is none, or it cannot be read.
    var text: [UInt8]? { try? read(path) }

    /// What it would be with handlers.
    func installed(_ settings: HookSettings) throws -> [UInt8] {
        try naming { try settings.installed(in: read(path), layout) }
    }

    /// - Returns: whether there were none before.
    func install(_ settings: HookSettings) throws -> Bool {
        try naming {
            let before = try read(path)
            let isNew = try before.map { try HookSettings.handlers(in: $0).isEmpty } ?? true
            let text = try settings.installed(in: before, layout)
            if isNew {
                // It is the only copy of what somebody had.
                if try before == nil && read(backup) != nil {
                    throw UsageError("\(path) is gone, and \(backup) is what it was: put that back, or remove it")
                }
                if let before { try write(before, to: backup, like: path) } else { try remove(backup) }
            }
            try write(text, to: path, like: path)
            return isNew
        }
    }

    func uninstall() throws -> HookSettings.Removal {
        try naming {
            guard let text = try read(path) else { return .nothing }
            let original = try read(backup)
            let removal = try HookSettings.removed(from: text, original: original)
            switch removal {
            case .nothing: return removal
            case .original: try write(original ?? [], to: path, like: path)
            case .deletion:
                try remove(path)
                removeEmptyFolder()
            case .text(let rest): try write(rest, to: path, like: path)
            }
            try remove(backup)
            return removal
        }
    }

    func handlers() throws -> [HookSettings.Handler] {
        try naming { try read(path).map { try HookSettings.handlers(in: $0) } ?? [] }
    }

    private func remove(_ path: String) throws {
        guard unlink(path) != 0, errno != ENOENT else { return }
        throw UsageError("cannot remove \(path): \(String(cString: strerror(errno)))")
    }

    /// The folder that was made for it, where nothing else is in it.
    private func removeEmptyFolder() {
        rmdir(URL(filePath: path).deletingLastPathComponent().path)
    }

    /// All at once: a coding agent that reads the file meanwhile reads what was there, or what is. A link stays one.
    ///
    /// - Parameter model: the file whose owner and permissions it gets, where that is there.
    private func write(_ text: [UInt8], to path: String, like model: String) throws {
        let target = Self.target(of: path)
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
        guard
            FileManager.default.createFile(
                atPath: temporary, contents: Data(text),
                attributes: [.posixPermissions: known?[.posixPermissions] ?? Self.newPermissions])
        else { throw UsageError("cannot write \(temporary)") }
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

    /// Whether a shell finds a program by its name.
    static func isInPath(_ name: String) -> Bool {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
            FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
        }
    }
}
