import ArgumentParser
import Foundation
import Logging
import SQLiteStore
import ServiceLifecycle
import StarlingServer
import UnixSignals
import WebSocket

/// Where defaults are said.
private let standard = ServerConfiguration()

/// `starling serve`
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Start a server.",
        discussion: """
            Every option can be given in the environment too: --port as STARLING_PORT, --max-drift as \
            STARLING_MAX_DRIFT, and so on. What is said on the command line wins.

            SIGTERM or SIGINT (ctrl-c) stops the server: connections are sent what is pending and told goodbye, and the \
            database is closed. SIGHUP makes it read access rules and certificates again, as it does when they change.
            """)

    @Option(help: "The address to listen on. (default: \(standard.host))")
    var host: String?

    @Option(help: "The port to listen on; 0 takes a free one. (default: \(standard.port))")
    var port: Int?

    @Option(help: ArgumentHelp("The file of the database. (default: \(standard.data))", valueName: "file"))
    var data: String?

    @Option(
        help: ArgumentHelp(
            """
            What an acknowledgement promises: 'commit' survives a crash of the machine, 'os' only one of the server. \
            (default: \(standard.durability.rawValue))
            """, valueName: "commit|os"))
    var durability: Durability?

    @Option(
        help: ArgumentHelp(
            """
            Compress messages of 1 KiB and more for clients that offer it: 'shared' compresses each once for all of them, \
            'dedicated' better, at about 70 kB a connection. (default: \(standard.compression.rawValue))
            """, valueName: "off|shared|dedicated"))
    var compression: DeflateParameters.Policy?

    @Option(help: "How many threads handle connections. (default: the number of cores)")
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "How far ahead of the server's clock a stamp may be. (default: \(standard.maximumDrift.wholeSeconds))",
            valueName: "seconds"))
    var maxDrift: Int?

    @Option(
        help: ArgumentHelp(
            "How long a closing connection may take to be answered. (default: \(standard.drainTimeout.wholeSeconds))",
            valueName: "seconds")
    )
    var drainTimeout: Int?

    @Option(
        help: ArgumentHelp(
            "After how long a deleted key may be forgotten. (default: \(standard.tombstoneRetention.wholeSeconds), a week)",
            valueName: "seconds"))
    var tombstoneRetention: Int?

    @Option(
        help: ArgumentHelp(
            "How long a task of a swarm is kept once it is over. (default: \(standard.taskRetention.wholeSeconds), 30 days)",
            valueName: "seconds"))
    var taskRetention: Int?

    @Option(
        help: ArgumentHelp(
            "Close a connection that has read nothing of what waits for it for so long. (default: \(standard.stallTimeout.wholeSeconds))",
            valueName: "seconds"))
    var stallTimeout: Int?

    @Option(
        help: ArgumentHelp(
            "Ping a client after so much silence. (default: \(standard.pingInterval.wholeSeconds))",
            valueName: "seconds"))
    var pingInterval: Int?

    @Option(
        help: ArgumentHelp(
            "Close a connection that has not answered a ping for so long after its TCP acknowledged it. (default: \(standard.pingTimeout.wholeSeconds))",
            valueName: "seconds"))
    var pingTimeout: Int?

    @Option(
        help: ArgumentHelp("Stop when nobody was connected for so long. (default: never)", valueName: "seconds"))
    var exitWhenIdle: Int?

    @Option(
        help: ArgumentHelp(
            "trace, debug, info, notice, warning, error or critical. (default: notice)", valueName: "level"),
        transform: { text in
            guard let level = Logger.Level(rawValue: text) else {
                throw ValidationError("there is no log level \(text)")
            }
            return level
        })
    var logLevel: Logger.Level?

    @OptionGroup(title: "Security")
    var security: ServeSecurity

    @OptionGroup(title: "Limits")
    var limits: ServeLimits

    func run() async throws {
        // Until somebody listens for it, it would end the process.
        signal(SIGHUP, SIG_IGN)
        try Descriptors.raise()
        let configuration = try configuration(Environment())
        let level = try logLevel ?? Environment().value("log-level", as: Logger.Level.init(rawValue:)) ?? .notice
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        let (reloads, continuation) = AsyncStream.makeStream(of: Void.self)
        let hangups = Task {
            for await _ in await UnixSignalsSequence(trapping: .sighup) { continuation.yield() }
        }
        defer { hangups.cancel() }
        let server = Server(
            configuration: configuration, logger: Logger(label: "starling"), reloads: reloads
        ) { port in
            Self.announce(configuration, port: port)
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint],
                logger: Logger(label: "starling")))
        try await group.run()
    }

    /// Puts together what the command line, the environment and the defaults say.
    private func configuration(_ environment: Environment) throws -> ServerConfiguration {
        var configuration = ServerConfiguration()
        if let host = try host ?? environment.string("host") { configuration.host = host }
        if let port = try environment.integer("port", port, 0...65_535) { configuration.port = port }
        if let data = try data ?? environment.string("data") { configuration.data = data }
        if let durability = try durability ?? environment.value("durability", as: Durability.init(rawValue:)) {
            configuration.durability = durability
        }
        let policy = try compression ?? environment.value("compression", as: DeflateParameters.Policy.init(rawValue:))
        if let policy { configuration.compression = policy }
        configuration.threads =
            try environment.integer("threads", threads, 1...1_024) ?? ProcessInfo.processInfo.activeProcessorCount
        try applyTimes(to: &configuration, environment)
        try security.apply(to: &configuration, environment)
        try limits.apply(to: &configuration, environment)
        return configuration
    }

    private func applyTimes(to configuration: inout ServerConfiguration, _ environment: Environment) throws {
        func set(
            _ path: WritableKeyPath<ServerConfiguration, Duration>, _ name: String, _ given: Int?,
            _ range: ClosedRange<Int>
        ) throws {
            if let value = try environment.seconds(name, given, range) { configuration[keyPath: path] = value }
        }
        try set(\.maximumDrift, "max-drift", maxDrift, 0...86_400 * 366)
        try set(\.drainTimeout, "drain-timeout", drainTimeout, 0...3_600)
        try set(\.tombstoneRetention, "tombstone-retention", tombstoneRetention, 1...86_400 * 36_600)
        configuration.idleExit = try environment.seconds("exit-when-idle", exitWhenIdle, 1...86_400 * 366)
        try set(\.taskRetention, "task-retention", taskRetention, 1...86_400 * 36_600)
        try set(\.stallTimeout, "stall-timeout", stallTimeout, 1...86_400)
        try set(\.pingInterval, "ping-interval", pingInterval, 1...86_400)
        try set(\.pingTimeout, "ping-timeout", pingTimeout, 1...86_400)
    }

    private static func announce(_ configuration: ServerConfiguration, port: Int) {
        let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
        let url = "\(configuration.certificates == nil ? "ws" : "wss")://\(host):\(port)/sync"
        let credentials = configuration.access == nil ? "" : " -H='Authorization: Bearer <token>'"
        Output.line(
            """
            starling \(ServerConfiguration.version) is ready: \(url) (database: \(configuration.data))
            To see every change, paste this into another terminal:

              echo '{"type":"subscribe","id":"s1","pattern":"*"}' | websocat -n\(credentials) \(url)

            Ctrl-C stops the server.
            """)
    }
}

extension Durability: ExpressibleByArgument {}
extension DeflateParameters.Policy: ExpressibleByArgument {}
