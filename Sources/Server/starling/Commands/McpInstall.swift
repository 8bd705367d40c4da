import ArgumentParser
import Foundation
import ModelContext
import SyncClient

/// `starling mcp install`
struct McpInstall: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install", abstract: "Say what goes into a program's settings; with --write, put it there.",
        discussion: """
            Everything else in the file stays; what it was before is kept beside it, as <file>.before-starling. A token is never written: where \
            STARLING_TOKEN is set now, the entry passes on the one that the environment has then, for the programs that can do that.
            """)

    /// The programs that are known.
    enum Program: String, CaseIterable, ExpressibleByArgument {
        case claudeCode = "claude-code"
        case claudeDesktop = "claude-desktop"
        case cursor
        case vsCode = "vscode"
        case codex
    }

    @Argument(help: ArgumentHelp("Which program.", valueName: "program"))
    var program: Program

    @OptionGroup var target: McpTarget

    @Flag(help: "In your own settings, for all projects, in place of this project's.")
    var user = false

    @Flag(help: "Write it.")
    var write = false

    func run() throws {
        _ = try Endpoint(ClientOptions.server(target.url))
        let path = path
        let text: [UInt8]
        do throws(MCPSettings.Problem) {
            text = try settings.installed(in: write ? try Self.read(path) : nil, layout)
        } catch {
            throw UsageError("\(path): \(error)")
        }
        guard write else {
            Output.complaint("this goes into \(path); --write puts it there")
            return Output.bytes(text)
        }
        let before = try SettingsFile.read(path)
        let backup = path + ".before-starling"
        // The first one is what somebody had without us.
        if let before, try SettingsFile.read(backup) == nil { try SettingsFile.write(before, to: backup, like: path) }
        try SettingsFile.write(text, to: path, like: path)
        Output.line("Wrote \(path). Start the program anew; its list of MCP servers then has starling.")
        if hasToken, !passesTokens {
            Output.complaint("this program passes no variables on: start it where STARLING_TOKEN is set")
        }
    }

    private static func read(_ path: String) throws(MCPSettings.Problem) -> [UInt8]? {
        do { return try SettingsFile.read(path) } catch { throw MCPSettings.Problem(description: "\(error)") }
    }

    private var hasToken: Bool { (try? Environment().string("token")) ?? nil != nil }

    private var passesTokens: Bool {
        switch program {
        case .claudeCode, .cursor, .vsCode, .codex: true
        case .claudeDesktop: false
        }
    }

    private var layout: MCPSettings.Layout {
        switch program {
        case .claudeCode, .claudeDesktop, .cursor: .json(servers: "mcpServers", saysType: program == .claudeCode)
        case .vsCode: .json(servers: "servers", saysType: true)
        case .codex: .toml
        }
    }

    private var path: String {
        let home = HookScope.home
        let project = HookScope.project
        #if os(macOS)
            let settings = home + "/Library/Application Support"
        #else
            let settings = home + "/.config"
        #endif
        return switch program {
        case .claudeCode: user ? home + "/.claude.json" : project + "/.mcp.json"
        case .claudeDesktop: settings + "/Claude/claude_desktop_config.json"
        case .cursor: (user ? home : project) + "/.cursor/mcp.json"
        case .vsCode: user ? settings + "/Code/User/mcp.json" : project + "/.vscode/mcp.json"
        case .codex: (ProcessInfo.processInfo.environment["CODEX_HOME"] ?? home + "/.codex") + "/config.toml"
        }
    }

    /// Settings of a project that others use too name the program; those of one's own say where it is: what has no shell has another PATH.
    private var command: String {
        let isShared = !user && program != .claudeDesktop && program != .codex
        return isShared && HookSettingsFile.isInPath("starling") ? "starling" : CommandLine.executable
    }

    private var settings: MCPSettings {
        var arguments = ["mcp"]
        let server = ClientOptions.server(target.url)
        if server != ClientOptions.standardServer { arguments += ["--url", server] }
        if let agent = target.agent { arguments += ["--agent", agent] }
        if target.tools != .starling { arguments += ["--tools", target.tools.rawValue] }
        if target.spawn { arguments.append("--spawn") }
        guard hasToken else { return MCPSettings(command: command, arguments: arguments) }
        let variable = "STARLING_TOKEN"
        return switch program {
        case .claudeCode:
            MCPSettings(command: command, arguments: arguments, environment: [(variable, "${\(variable)}")])
        case .cursor, .vsCode:
            MCPSettings(command: command, arguments: arguments, environment: [(variable, "${env:\(variable)}")])
        case .codex: MCPSettings(command: command, arguments: arguments, passedOn: [variable])
        case .claudeDesktop: MCPSettings(command: command, arguments: arguments)
        }
    }
}
