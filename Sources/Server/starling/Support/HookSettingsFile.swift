import Agents
import Foundation

/// A file with the settings of a coding agent.
struct HookSettingsFile {
    let path: String
    let layout: HookSettings.Layout

    /// What the file was before our handlers were put in.
    private var backup: String { path + ".before-starling" }

    /// Where what is wrong with settings is said.
    private func naming<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as SettingsError {
            throw UsageError("\(path): \(error)")
        }
    }

    /// What is in it; nil: there is none, or it cannot be read.
    var text: [UInt8]? { try? SettingsFile.read(path) }

    /// What it would be with handlers.
    func installed(_ settings: HookSettings) throws -> [UInt8] {
        try naming { try settings.installed(in: SettingsFile.read(path), layout) }
    }

    /// - Returns: whether there were none before.
    func install(_ settings: HookSettings) throws -> Bool {
        try naming {
            let before = try SettingsFile.read(path)
            let isNew = try before.map { try HookSettings.handlers(in: $0).isEmpty } ?? true
            let text = try settings.installed(in: before, layout)
            if isNew {
                // It is the only copy of what somebody had.
                if try before == nil && SettingsFile.read(backup) != nil {
                    throw UsageError("\(path) is gone, and \(backup) is what it was: put that back, or remove it")
                }
                if let before {
                    try SettingsFile.write(before, to: backup, like: path)
                } else {
                    try SettingsFile.remove(backup)
                }
            }
            try SettingsFile.write(text, to: path, like: path)
            return isNew
        }
    }

    func uninstall() throws -> HookSettings.Removal {
        try naming {
            guard let text = try SettingsFile.read(path) else { return .nothing }
            let original = try SettingsFile.read(backup)
            let removal = try HookSettings.removed(from: text, original: original)
            switch removal {
            case .nothing: return removal
            case .original: try SettingsFile.write(original ?? [], to: path, like: path)
            case .deletion:
                try SettingsFile.remove(path)
                removeEmptyFolder()
            case .text(let rest): try SettingsFile.write(rest, to: path, like: path)
            }
            try SettingsFile.remove(backup)
            return removal
        }
    }

    func handlers() throws -> [HookSettings.Handler] {
        try naming { try SettingsFile.read(path).map { try HookSettings.handlers(in: $0) } ?? [] }
    }

    /// The folder that was made for it, where nothing else is in it.
    private func removeEmptyFolder() {
        rmdir(URL(filePath: path).deletingLastPathComponent().path)
    }

    /// Whether a shell finds a program by its name.
    static func isInPath(_ name: String) -> Bool {
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
            FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
        }
    }
}
