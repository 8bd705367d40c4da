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

    /// - Returns: whether there were none before.
    func install(_ settings: HookSettings) throws -> Bool {
        try naming {
            let before = try read(path)
            let isNew = try before.map { try HookSettings.handlers(in: $0).isEmpty } ?? true
            let text = try settings.installed(in: before, layout)
            if isNew {
                try remove(backup)
                if let before { try write(before, to: backup) }
            }
            try write(text, to: path)
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
            case .original: try write(original ?? [], to: path)
            case .deletion: try remove(path)
            case .text(let rest): try write(rest, to: path)
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

    /// All at once: a coding agent that reads the file meanwhile reads what was there, or what is. A link stays one.
    private func write(_ text: [UInt8], to path: String) throws {
        let target = URL(filePath: path).resolvingSymlinksInPath()
        do {
            try FileManager.default.createDirectory(
                at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
            let known = try? FileManager.default.attributesOfItem(atPath: target.path)
            let temporary = target.path + ".new-\(ProcessInfo.processInfo.processIdentifier)"
            guard
                FileManager.default.createFile(
                    atPath: temporary, contents: Data(text),
                    attributes: [.posixPermissions: known?[.posixPermissions] ?? 0o644])
            else { throw UsageError("cannot write \(temporary)") }
            guard rename(temporary, target.path) == 0 else {
                throw UsageError("cannot write \(path): \(String(cString: strerror(errno)))")
            }
        } catch let error as CocoaError {
            throw UsageError("cannot write \(path): \(error.localizedDescription)")
        }
    }

    /// Whether a shell finds a program by its name.
    static func isInPath(_ name: String) -> Bool {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
            FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
        }
    }
}
