import Agents
import ArgumentParser
import Foundation

/// Which settings are meant.
struct HookScope: ParsableArguments {
    enum Place: String, EnumerableFlag {
        case local, project, user, copilot

        static func help(for value: Place) -> ArgumentHelp? {
            switch value {
            case .local: "This project's, for you alone: .claude/settings.local.json."
            case .project: "This project's, for everybody: .claude/settings.json."
            case .user: "Yours, in all projects: ~/.claude/settings.json."
            case .copilot: "This project's, of GitHub Copilot's CLI: .github/hooks/starling.json."
            }
        }
    }

    @Flag(exclusivity: .exclusive)
    var place: Place = .local

    static func file(of place: Place) -> HookSettingsFile {
        // As it is seen from here.
        let base = project == FileManager.default.currentDirectoryPath ? "" : project + "/"
        let path =
            switch place {
            case .local: "\(base).claude/settings.local.json"
            case .project: "\(base).claude/settings.json"
            case .user: "\(claude)/settings.json"
            case .copilot: "\(base).github/hooks/starling.json"
            }
        return HookSettingsFile(path: path, layout: place == .copilot ? .copilot : .claude)
    }

    /// The home folder, by the environment where that says one, as shells have it.
    static var home: String {
        ProcessInfo.processInfo.environment["HOME"].flatMap { $0.isEmpty ? nil : $0 }
            ?? FileManager.default.homeDirectoryForCurrentUser.path
    }

    /// Where Claude Code has what is yours.
    private static var claude: String {
        ProcessInfo.processInfo.environment["CLAUDE_CONFIG_DIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "\(home)/.claude"
    }

    /// The folder of the project: the nearest one, from here up, that has settings or a repository; else this one.
    static var project: String {
        let here = FileManager.default.currentDirectoryPath
        var folder = URL(filePath: here)
        while folder.path != "/", folder.path != home {
            for name in [".claude", ".git"] where FileManager.default.fileExists(atPath: folder.path + "/" + name) {
                return folder.path
            }
            folder.deleteLastPathComponent()
        }
        return here
    }

    var file: HookSettingsFile { Self.file(of: place) }
}
