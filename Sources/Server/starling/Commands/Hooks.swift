import Agents
import ArgumentParser
import Foundation
import Registers

/// `starling hooks`
struct Hooks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hooks", abstract: "Have a coding agent's hooks tell the server what happens.",
        subcommands: [HooksInstall.self, HooksUninstall.self, HooksStatus.self])
}

/// `starling hooks install`
struct HooksInstall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install", abstract: "Put the handlers into a coding agent's settings.",
        discussion: """
            Everything else in the file stays; what it was before is kept beside it, and 'starling hooks uninstall' puts that back. Done again it \
            changes what was put there. A token is never written: where STARLING_TOKEN is set now, or with --authorize, handlers show the one that \
            the environment has then. Without --agent the name is made of the tool, this machine and the folder.
            """)

    @OptionGroup var scope: HookScope

    @OptionGroup var target: HookTarget

    @Flag(help: "Tell before a file is changed that somebody has claimed file:<path>.")
    var reservations = false

    @Flag(help: "Show the token that STARLING_TOKEN holds when a hook runs.")
    var authorize = false

    @Flag(help: "Print what the file would be, and change nothing.")
    var dryRun = false

    func run() async throws {
        do throws(TextError) {
            if let agent = target.agent { _ = try Agent(agent) }
            if let swarm = target.swarm { _ = try Segment(swarm) }
        } catch {
            throw UsageError(error.description)
        }
        let name =
            target.agent
            ?? AgentName.make(
                of: scope.place == .copilot ? "copilot" : "claude",
                in: scope.place == .user ? HookScope.home : HookScope.project)
        let mayShow = try authorize || Environment().string("token") != nil
        let settings = HookSettings(
            url: try target.origin() + target.path(), agent: name, tokenVariable: mayShow ? "STARLING_TOKEN" : nil,
            command: Self.command(target, name), tellsOfClaims: reservations)
        let file = scope.file
        if dryRun { return Output.bytes(try file.installed(settings)) }
        let isNew = try file.install(settings)
        for other in HookScope.Place.allCases where other != scope.place && other != .copilot {
            guard scope.place != .copilot, HookScope.file(of: other).path != file.path,
                (try? HookScope.file(of: other).handlers().isEmpty) == false
            else {
                continue
            }
            Output.complaint("there are hooks in \(HookScope.file(of: other).path) too: each event is told twice")
        }
        Output.line("\(isNew ? "Installed" : "Updated") the hooks in \(file.path), for agent \(name).")
        if mayShow { Output.line("They show the token in STARLING_TOKEN: set it where the coding agent is started.") }
        Output.line(
            "'starling hooks status' tries them; 'starling hooks uninstall --\(scope.place.rawValue)' takes them out.")
    }

    /// What a shell runs: the program by its name where the shell finds it by that.
    private static func command(_ target: HookTarget, _ agent: String) -> String {
        let program = HookSettingsFile.isInPath("starling") ? "starling" : HookSettings.quoted(CommandLine.executable)
        var words = [program, "hook", "--agent", HookSettings.quoted(agent)]
        let server = ClientOptions.server(target.url)
        if server != ClientOptions.standardServer { words += ["--url", HookSettings.quoted(server)] }
        if let swarm = target.swarm { words += ["--swarm", HookSettings.quoted(swarm)] }
        if target.noContent { words.append("--no-content") }
        return words.joined(separator: " ")
    }
}

extension CommandLine {
    /// This program's file.
    static var executable: String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? Bundle.main.executablePath
            ?? arguments[0]
    }
}

/// `starling hooks uninstall`
struct HooksUninstall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uninstall", abstract: "Take the handlers out of a coding agent's settings.",
        discussion:
            "The file is what it was before, to the byte; where somebody has changed it since, only what is ours goes.")

    @OptionGroup var scope: HookScope

    func run() async throws {
        let file = scope.file
        switch try file.uninstall() {
        case .nothing:
            Output.complaint("there are no hooks of ours in \(file.path)")
            throw ExitCode(1)
        case .original: Output.line("\(file.path) is as it was before.")
        case .deletion: Output.line("Removed \(file.path): there was nothing else in it.")
        case .text: Output.line("Took the hooks out of \(file.path); what was changed since they were put there stays.")
        }
    }
}

/// `starling hooks status`
struct HooksStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Try each handler that is installed, as a coding agent would.",
        discussion: """
            Each line is an event, a tab, how long it took, a tab, and what came of it. Nothing is kept of that. Exits with 1 when there are no \
            handlers, or one does not do what it should. Settings may be somebody else's: nothing of them is run but this program's own hook, and a \
            token is shown to the server of --url only.
            """)

    @Option(help: "The server; else STARLING_URL in the environment. (default: ws://127.0.0.1:7827/sync)")
    var url: String?

    func run() async throws {
        let server = try HookTarget.parse(url.map { ["--url", $0] } ?? []).origin()
        signal(SIGPIPE, SIG_IGN)
        var count = 0
        var isWell = true
        var seen: Set<String> = []
        for place in HookScope.Place.allCases {
            let file = HookScope.file(of: place)
            // At home a project's settings are the user's.
            guard seen.insert(file.path).inserted else { continue }
            let handlers = try file.handlers()
            if handlers.isEmpty { continue }
            count += handlers.count
            Output.line("\(file.path):")
            for handler in handlers {
                let trial = await HookTrial(handler, server: server, obstacle: Self.obstacle(to: handler, place)).run()
                isWell = isWell && trial.isWell
                Output.line("  \(handler.event)\t\(trial.milliseconds) ms\t\(trial.text)")
            }
        }
        if count == 0 { Output.complaint("no hooks are installed here: 'starling hooks install'") }
        if count == 0 || !isWell { throw ExitCode(1) }
    }

    /// What keeps Claude Code from calling a handler, in whatever settings it reads.
    private static func obstacle(to handler: HookSettings.Handler, _ place: HookScope.Place) -> String? {
        guard place != .copilot else { return nil }
        return HookScope.Place.allCases.filter { $0 != .copilot }.lazy.compactMap { place in
            let file = HookScope.file(of: place)
            return file.text.flatMap { HookSettings.obstacle(in: $0, to: handler) }.map { "\($0) in \(file.path)" }
        }.first
    }
}
