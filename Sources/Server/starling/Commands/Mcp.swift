import ArgumentParser
import Foundation
import ModelContext
import NIOCore
import SyncClient
import SyncProtocol
import Synchronization

/// `starling mcp`
struct Mcp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mcp", abstract: "Speak the Model Context Protocol on standard input and output.",
        discussion: """
            This is what an editor or a coding agent starts to have memory, tasks and messages: it passes everything on to the server, so that \
            all of them share one. 'starling mcp install' says what goes into their settings, and writes it with --write.
            """,
        subcommands: [McpRun.self, McpInstall.self], defaultSubcommand: McpRun.self)
}

/// What to serve, and in whose name.
struct McpTarget: ParsableArguments {
    @Option(help: "The server; else STARLING_URL in the environment. (default: ws://127.0.0.1:7827/sync)")
    var url: String?

    @Option(help: "The name to act under. (default: made of the client, this machine and the folder)")
    var agent: String?

    @Option(
        help: ArgumentHelp("Which tools there are: starling, or the names that claude-flow has.", valueName: "set"),
        transform: { text in
            guard let set = Machine.ToolSet(rawValue: text) else {
                throw ValidationError("--tools is starling or claude-flow")
            }
            return set
        })
    var tools: Machine.ToolSet = .starling

    @Flag(help: "Start a server where none listens. It ends when nobody was connected for ten minutes.")
    var spawn = false
}

/// `starling mcp run`, which is what `starling mcp` does.
struct McpRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Speak it. (default)",
        discussion: """
            Messages are lines of JSON. With --spawn the database is ${XDG_DATA_HOME:-~/.local/share}/starling/starling.db, and what the server has \
            to say is in server.log beside it.
            """)

    @OptionGroup var target: McpTarget

    @OptionGroup var way: ConnectionOptions

    /// How long what is under way may take when there are no more messages.
    private static let lastMoment = Duration.seconds(2)

    func run() async throws {
        // Else the end of who reads would end this, before the server is told.
        signal(SIGPIPE, SIG_IGN)
        let url = ClientOptions.server(target.url)
        let dialer = try Dialer(url, roots: way.roots, identity: try way.identity())
        let server = target.spawn ? try DetachedServer(url, dialer) : nil
        let start: (@Sendable () async throws -> Void)? = server.map { server in
            { @Sendable () async throws -> Void in try await server.start() }
        }
        let name = target.agent
        let output = Lines()
        let bridge = MCPBridge(
            HTTPConnections(dialer), path: target.tools == .starling ? "/mcp" : "/mcp?tools=\(target.tools.rawValue)",
            token: try way.credentials(),
            agent: { client in
                name ?? AgentName.make(of: Requester.name(client ?? "agent"), in: HookScope.project)
            },
            start: start,
            print: { output.print($0) })
        for await line in Self.lines() { await bridge.take(line) }
        await bridge.settle(within: Self.lastMoment)
        await bridge.end()
    }

    /// Ends the process in any case: a server that does not answer is no reason to stay.
    private static func endSoon() {
        Task {
            try? await Task.sleep(for: lastMoment * 2)
            Foundation.exit(0)
        }
    }

    /// Standard output, for many who write a line each.
    private final class Lines: Sendable {
        private let lock = Mutex(())

        func print(_ line: [UInt8]) { lock.withLock { _ in Output.bytes(line + [UInt8(ascii: "\n")]) } }
    }

    /// The lines of standard input, read by a thread of their own; they end with it, and with SIGTERM and SIGINT.
    private static func lines() -> AsyncStream<[UInt8]> {
        let (lines, continuation) = AsyncStream.makeStream(of: [UInt8].self)
        let thread = Thread {
            var reader = LineReader()
            while let line = reader.next() {
                let text = line.filter { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
                if !text.isEmpty { continuation.yield(Array(text)) }
            }
            endSoon()
            continuation.finish()
        }
        thread.start()
        let signals = StopSignals {
            endSoon()
            continuation.finish()
        }
        continuation.onTermination = { _ in withExtendedLifetime(signals) {} }
        return lines
    }
}
