import Access
import ArgumentParser
import StarlingServer
import Transport

/// The options of `starling serve` that bound what clients can ask of it.
struct ServeLimits: ParsableArguments {
    @Option(help: "How many connections there may be. (default: 100000)")
    var maxConnections: Int?

    @Option(
        help: """
            How many of them from one address, or one IPv6 network of 64 bits. (default: 1024, and any number from this \
            machine)
            """)
    var maxConnectionsPerAddress: Int?

    @Option(
        help: ArgumentHelp(
            "How long a client may take to be ready: for TLS, its request, and its credentials. (default: 10)",
            valueName: "seconds"))
    var handshakeTimeout: Int?

    @Option(
        help: ArgumentHelp(
            "How much may be held of messages that are not whole yet, for all connections together. (default: 268435456)",
            valueName: "bytes"))
    var maxUnfinished: Int?

    @Option(help: ArgumentHelp("The greatest size of a request's head. (default: 16384)", valueName: "bytes"))
    var maxHead: Int?

    @Option(
        help: ArgumentHelp(
            "How many messages a connection may send. (default: any number)", valueName: "per-second"))
    var maxMessageRate: Int?

    @Option(
        help: ArgumentHelp("How many bytes of messages. (default: any number)", valueName: "per-second"))
    var maxByteRate: Int?

    @Option(
        help: ArgumentHelp(
            "Close a connection without subscriptions and claims that sends nothing for so long. (default: never)",
            valueName: "seconds"))
    var idleTimeout: Int?

    func apply(to configuration: inout ServerConfiguration, _ environment: Environment) throws {
        func value(_ name: String, _ given: Int?, _ range: ClosedRange<Int>) throws -> Int? {
            try (given ?? environment.integer(name)).map { try Serve.checked(name, $0, range) }
        }
        let total = try value("max-connections", maxConnections, 1...10_000_000)
        let perAddress = try value("max-connections-per-address", maxConnectionsPerAddress, 1...10_000_000)
        configuration.connections.total = total ?? 100_000
        configuration.connections.perAddress = perAddress ?? 1_024
        configuration.connections.countsLoopback = perAddress != nil
        configuration.handshakeTimeout =
            Int64(try value("handshake-timeout", handshakeTimeout, 1...3_600) ?? 10) * 1_000
        configuration.maximumHeadSize = try value("max-head", maxHead, 1_024...1 << 20) ?? 16 * 1_024
        configuration.maximumUnfinished = try value("max-unfinished", maxUnfinished, 1 << 20...1 << 40) ?? 256 << 20
        let messages = try value("max-message-rate", maxMessageRate, 1...1_000_000_000)
        let bytes = try value("max-byte-rate", maxByteRate, 1...1 << 40)
        if messages != nil || bytes != nil {
            configuration.rate = RateLimit.Limits(messages: messages, bytes: bytes)
        }
        configuration.idleTimeout = try value("idle-timeout", idleTimeout, 1...86_400 * 366).map { UInt64($0) * 1_000 }
    }
}
