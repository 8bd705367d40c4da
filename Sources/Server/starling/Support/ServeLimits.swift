import Access
import ArgumentParser
import StarlingServer
import Transport

/// Where defaults are said.
private let standard = ServerConfiguration()

/// The options of `starling serve` that bound what clients can ask of it.
struct ServeLimits: ParsableArguments {
    @Option(
        help: ArgumentHelp("The greatest size of a value. (default: \(standard.maximumValueSize))", valueName: "bytes"))
    var maxValue: Int?

    @Option(
        help: ArgumentHelp(
            "The greatest size of a message. (default: the value's + \(ServerConfiguration.envelope))",
            valueName: "bytes"))
    var maxMessage: Int?

    @Option(
        help: ArgumentHelp(
            "How much may wait for a slow connection before it catches up from the database. (default: \(standard.maximumBacklog))",
            valueName: "bytes"))
    var maxBacklog: Int?

    @Option(help: "How many subscriptions a connection may have. (default: \(standard.maximumSubscriptions))")
    var maxSubscriptions: Int?

    @Option(help: "How many connections there may be. (default: \(standard.connections.total))")
    var maxConnections: Int?

    @Option(
        help: """
            How many of them from one address, or one IPv6 network of 64 bits. (default: \(standard.connections.perAddress ?? 0), and any number from this \
            machine)
            """)
    var maxConnectionsPerAddress: Int?

    @Option(
        help: ArgumentHelp(
            "How long a client may take to be ready: for TLS, its request, and its credentials. (default: \(standard.handshakeTimeout.wholeSeconds))",
            valueName: "seconds"))
    var handshakeTimeout: Int?

    @Option(
        help: ArgumentHelp(
            "How much may be held of messages that are not whole yet, for all connections together. (default: \(standard.maximumUnfinished))",
            valueName: "bytes"))
    var maxUnfinished: Int?

    @Option(
        help: ArgumentHelp(
            "The greatest size of a request's head. (default: \(standard.maximumHeadSize))", valueName: "bytes"))
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
        func set(
            _ path: WritableKeyPath<ServerConfiguration, Int>, _ name: String, _ given: Int?, _ range: ClosedRange<Int>
        ) throws {
            if let value = try environment.integer(name, given, range) { configuration[keyPath: path] = value }
        }
        try set(\.maximumValueSize, "max-value", maxValue, 1...256 << 20)
        configuration.maximumMessageSize = try environment.integer("max-message", maxMessage, 1_024...512 << 20)
        try set(\.maximumBacklog, "max-backlog", maxBacklog, 1_024...1 << 30)
        try set(\.maximumSubscriptions, "max-subscriptions", maxSubscriptions, 1...1_000_000)
        try set(\.connections.total, "max-connections", maxConnections, 1...10_000_000)
        let perAddress = try environment.integer(
            "max-connections-per-address", maxConnectionsPerAddress, 1...10_000_000)
        if let perAddress { configuration.connections.perAddress = perAddress }
        configuration.connections.countsLoopback = perAddress != nil
        try set(\.maximumHeadSize, "max-head", maxHead, 1_024...1 << 20)
        try set(\.maximumUnfinished, "max-unfinished", maxUnfinished, 1 << 20...1 << 40)
        let messages = try environment.integer("max-message-rate", maxMessageRate, 1...1_000_000_000)
        let bytes = try environment.integer("max-byte-rate", maxByteRate, 1...1 << 40)
        if messages != nil || bytes != nil {
            configuration.rate = RateLimit.Limits(messages: messages, bytes: bytes)
        }
        if let timeout = try environment.seconds("handshake-timeout", handshakeTimeout, 1...3_600) {
            configuration.handshakeTimeout = timeout
        }
        configuration.idleTimeout = try environment.seconds("idle-timeout", idleTimeout, 1...86_400 * 366)
    }
}

extension Duration {
    /// In whole seconds.
    var wholeSeconds: Int64 { components.seconds }
}
