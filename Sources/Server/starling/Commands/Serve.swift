import ArgumentParser
import Foundation
import Logging
import SQLiteStore
import ServiceLifecycle
import StarlingServer
import UnixSignals
import WebSocket

/// `starling serve`
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Start a server.",
        discussion: """
            Every option can be given in the environment too: --port as STARLING_PORT, --max-drift as \
            STARLING_MAX_DRIFT, and so on. What is said on the command line wins.

            SIGTERM or SIGINT (ctrl-c) stops the server: connections get what they are owed, are told goodbye, and the \
            database is closed. SIGHUP makes it read access rules and certificates again, as it does when they change.
            """)

    @Option(help: "The address to listen on. (default: 127.0.0.1)")
    var host: String?

    @Option(help: "The port to listen on; 0 takes a free one. (default: 7827)")
    var port: Int?

    @Option(help: ArgumentHelp("The file of the database. (default: starling.db)", valueName: "file"))
    var data: String?

    @Option(
        help: ArgumentHelp(
            """
            What an acknowledgement promises: 'commit' survives a crash of the machine, 'os' only one of the server. \
            (default: commit)
            """, valueName: "commit|os"))
    var durability: Durability?

    @Option(
        help: ArgumentHelp(
            """
            Compress messages of 1 KiB and more for clients that offer it: 'shared' compresses each once for all of them, \
            'dedicated' better, at about 70 kB a connection. (default: off)
            """, valueName: "off|shared|dedicated"))
    var compression: DeflateParameters.Policy?

    @Option(help: "How many threads handle connections. (default: the number of cores)")
    var threads: Int?

    @Option(
        help: ArgumentHelp("How far ahead of the server's clock a stamp may be. (default: 60)", valueName: "seconds"))
    var maxDrift: Int?

    @Option(help: ArgumentHelp("The greatest size of a value. (default: 1048576)", valueName: "bytes"))
    var maxValue: Int?

    @Option(help: ArgumentHelp("The greatest size of a message. (default: the value's + 65536)", valueName: "bytes"))
    var maxMessage: Int?

    @Option(
        help: ArgumentHelp(
            "How much may wait for a slow connection before it catches up from the database. (default: 1048576)",
            valueName: "bytes"))
    var maxBacklog: Int?

    @Option(help: "How many subscriptions a connection may have. (default: 10000)")
    var maxSubscriptions: Int?

    @Option(
        help: ArgumentHelp("How long a closing connection may take to be answered. (default: 10)", valueName: "seconds")
    )
    var drainTimeout: Int?

    @Option(
        help: ArgumentHelp(
            "After how long a deleted key may be forgotten. (default: 604800, a week)", valueName: "seconds"))
    var tombstoneRetention: Int?

    @Option(
        help: ArgumentHelp(
            "Close a connection that has read nothing of what waits for it for so long. (default: 120)",
            valueName: "seconds"))
    var stallTimeout: Int?

    @Option(help: ArgumentHelp("Ping a client after so much silence. (default: 25)", valueName: "seconds"))
    var pingInterval: Int?

    @Option(
        help: ArgumentHelp(
            "Close a connection that has not answered a ping for so long after its kernel took it. (default: 120)",
            valueName: "seconds"))
    var pingTimeout: Int?

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
                services: [.init(service: server)], gracefulShutdownSignals: [.sigterm, .sigint],
                logger: Logger(label: "starling")))
        try await group.run()
    }

    /// Puts together what the command line, the environment and the defaults say.
    private func configuration(_ environment: Environment) throws -> ServerConfiguration {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        var configuration = ServerConfiguration(
            host: try host ?? environment.string("host") ?? "127.0.0.1",
            port: try Self.checked("port", port ?? environment.integer("port") ?? 7827, 0...65_535),
            data: try data ?? environment.string("data") ?? "starling.db",
            durability: try durability ?? environment.value("durability", as: Durability.init(rawValue:)) ?? .commit,
            threads: try Self.checked("threads", threads ?? environment.integer("threads") ?? cores, 1...1_024),
            maximumDrift: UInt64(
                try milliseconds("max-drift", maxDrift, environment, default: 60, 0...86_400 * 366)),
            maximumValueSize: try Self.checked(
                "max-value", maxValue ?? environment.integer("max-value") ?? 1 << 20, 1...256 << 20),
            maximumMessageSize: try (maxMessage ?? environment.integer("max-message")).map {
                try Self.checked("max-message", $0, 1_024...512 << 20)
            },
            maximumBacklog: try Self.checked(
                "max-backlog", maxBacklog ?? environment.integer("max-backlog") ?? 1 << 20, 1_024...1 << 30),
            maximumSubscriptions: try Self.checked(
                "max-subscriptions", maxSubscriptions ?? environment.integer("max-subscriptions") ?? 10_000,
                1...1_000_000),
            drainTimeout: try milliseconds("drain-timeout", drainTimeout, environment, default: 10, 0...3_600),
            tombstoneRetention: UInt64(
                try milliseconds(
                    "tombstone-retention", tombstoneRetention, environment, default: 604_800, 1...86_400 * 36_600)),
            stallTimeout: try milliseconds("stall-timeout", stallTimeout, environment, default: 120, 1...86_400),
            pingInterval: try milliseconds("ping-interval", pingInterval, environment, default: 25, 1...86_400),
            pingTimeout: try milliseconds("ping-timeout", pingTimeout, environment, default: 120, 1...86_400))
        configuration.compression =
            try compression ?? environment.value("compression", as: DeflateParameters.Policy.init(rawValue:)) ?? .off
        try security.apply(to: &configuration, environment)
        try limits.apply(to: &configuration, environment)
        return configuration
    }

    private func milliseconds(
        _ name: String, _ seconds: Int?, _ environment: Environment, default standard: Int, _ range: ClosedRange<Int>
    ) throws -> Int64 {
        Int64(try Self.checked(name, seconds ?? environment.integer(name) ?? standard, range)) * 1_000
    }

    static func checked(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws -> Int {
        guard range ~= value else {
            throw ValidationError("--\(name) is \(value); it must be from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
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
