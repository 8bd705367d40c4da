import SyncProtocol

/// What the headers of a request over HTTP say of the message in its body: the values of each, one for each time that it is there.
package struct RoutingHeaders: Sendable {
    package var version: [String]
    package var method: [String]
    package var name: [String]

    package init(version: [String], method: [String], name: [String]) {
        self.version = version
        self.method = method
        self.name = name
    }
}

/// What a request of a version without sessions says of itself, in `_meta`.
package struct ModernEnvelope: Sendable {
    private static let prefix = "io.modelcontextprotocol/"
    static let versionKey = prefix + "protocolVersion"
    private static let capabilitiesKey = prefix + "clientCapabilities"
    static let clientKey = prefix + "clientInfo"

    package let version: ProtocolVersion
    /// What the client calls itself.
    package let client: String?

    /// Whether a request is by such a version: it says one itself.
    package static func isIn(_ request: RPCRequest) -> Bool { request.metadata?.raw(versionKey) != nil }

    /// Judges a request (2026-07-28, *Streamable HTTP*, *Server Validation*), in this order: whether it says what it has to, whether the headers
    /// say the same, and whether the version is spoken here.
    ///
    /// - Parameter headers: nil: it did not come by HTTP.
    package init(_ request: RPCRequest, _ headers: RoutingHeaders?) throws(RPCError) {
        guard let metadata = request.metadata else {
            throw RPCError(
                .invalidParameters, "params._meta is no object with \(Self.versionKey) and \(Self.capabilitiesKey)")
        }
        let missing = [Self.versionKey, Self.capabilitiesKey].filter { metadata.raw($0) == nil }
        guard missing.isEmpty else {
            throw RPCError(.invalidParameters, "params._meta has no \(missing.joined(separator: " and no "))")
        }
        let version = metadata.string(Self.versionKey)
        if let headers { try Self.compare(headers, with: request, version) }
        guard let version else { throw RPCError(.invalidParameters, "\(Self.versionKey) is no string") }
        guard metadata.object(Self.capabilitiesKey) != nil else {
            throw RPCError(.invalidParameters, "\(Self.capabilitiesKey) is no object")
        }
        guard let known = ProtocolVersion(rawValue: version), known.isModern else {
            throw RPCError.unsupported(version)
        }
        self.version = known
        client = metadata.object(Self.clientKey)?.string("name")
    }

    private static func compare(
        _ headers: RoutingHeaders, with request: RPCRequest, _ version: String?
    ) throws(RPCError) {
        for (name, values) in [
            ("MCP-Protocol-Version", headers.version), ("Mcp-Method", headers.method), ("Mcp-Name", headers.name),
        ] where values.count > 1 {
            throw RPCError(.headerMismatch, "Header mismatch: \(name) is there \(values.count) times")
        }
        guard let version, headers.version.first == version else {
            throw RPCError(
                .headerMismatch, "Header mismatch: MCP-Protocol-Version is not the version that params._meta names")
        }
        guard headers.method.first == request.method else {
            throw RPCError(.headerMismatch, "Header mismatch: Mcp-Method is not the body's method")
        }
        let member: String
        switch request.method {
        case "tools/call", "prompts/get": member = "name"
        case "resources/read": member = "uri"
        default: return
        }
        guard let named = request.parameters.string(member) else { return }
        guard let header = headers.name.first.flatMap(HeaderText.decode), header == named else {
            throw RPCError(.headerMismatch, "Header mismatch: Mcp-Name is not the body's params.\(member)")
        }
    }
}
