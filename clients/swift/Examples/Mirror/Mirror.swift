import ArgumentParser
import Foundation
import StarlingClient

/// Mirrors a pattern to files: a file for each key, in a folder for each segment, as long as it runs.
@main
struct Mirror: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mirror the registers that match a pattern to files.",
        discussion: "A register `task:42:status` is the file `task/42/status.json`. What is deleted loses its file.")

    @Argument(help: "Which registers, such as 'task:*'.")
    var pattern: String

    @Argument(help: "Where to, a folder.")
    var folder: String

    @Option(help: "The server.")
    var url = "ws://127.0.0.1:7827/sync"

    @Flag(help: "Stop when everything that is there now has been written.")
    var once = false

    func run() async throws {
        let sync = try StarlingClient(url, agent: "mirror-\(ProcessInfo.processInfo.processIdentifier)")
        defer { sync.closeAtOnce() }
        let root = URL(filePath: folder, directoryHint: .isDirectory)
        let subscription = try sync.subscribe(pattern)
        if once {
            try await subscription.synced()
            for update in subscription.list() { try write(update, below: root) }
            return
        }
        for try await update in subscription where !update.isTransient {
            try write(update, below: root)
        }
    }

    private func write(_ update: Update, below root: URL) throws {
        guard let file = Self.file(for: update.key, below: root) else {
            print("\(update.key) cannot be a path, and is left out")
            return
        }
        if let json = update.json {
            let parent = file.deletingLastPathComponent()
            try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
            try Data(json.utf8).write(to: file, options: .atomic)
            print("\(update.key) → \(file.path)")
        } else if FileManager.default.fileExists(atPath: file.path) {
            try FileManager.default.removeItem(at: file)
            print("\(update.key) is gone")
        }
    }

    /// Where a key's file is; nil for keys that would lead elsewhere.
    static func file(for key: String, below root: URL) -> URL? {
        let segments = key.split(separator: ":", omittingEmptySubsequences: false)
        guard segments.allSatisfy({ !$0.isEmpty && !$0.hasPrefix(".") && !$0.contains("/") && $0.utf8.count < 250 })
        else { return nil }
        return root.appending(path: segments.joined(separator: "/") + ".json", directoryHint: .notDirectory)
    }
}
