/// Where a server is: what a `ws://` or `wss://` URL says.
package struct Endpoint: Equatable, Sendable {
    package let host: String
    package let port: Int
    package let path: String
    /// Whether the connection is encrypted.
    package let isSecure: Bool

    /// Reads a URL such as `ws://127.0.0.1:7827/sync`. Without a port it is 80, or 443 for `wss`, without a path `/sync`.
    ///
    /// - Throws: ``ClientError`` that says what is wrong with it.
    package init(_ url: String) throws(ClientError) {
        let parts = url.split(separator: "://", maxSplits: 1)
        guard parts.count == 2, parts[0] == "ws" || parts[0] == "wss" else {
            throw ClientError(.badURL, "\(url) is no URL like ws://127.0.0.1:7827/sync or wss://example.com/sync")
        }
        isSecure = parts[0] == "wss"
        let standardPort = isSecure ? 443 : 80
        let authority = parts[1].prefix { $0 != "/" }
        let path = parts[1].dropFirst(authority.count)
        self.path = path.isEmpty || path == "/" ? "/sync" : String(path)
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            host = String(authority[authority.index(after: authority.startIndex)..<end])
            port = try Self.port(authority[authority.index(after: end)...], url) ?? standardPort
        } else {
            let host = authority.prefix { $0 != ":" }
            self.host = String(host)
            port = try Self.port(authority.dropFirst(host.count), url) ?? standardPort
        }
        if host.isEmpty { throw ClientError(.badURL, "\(url) names no host") }
    }

    private static func port(_ text: Substring, _ url: String) throws(ClientError) -> Int? {
        if text.isEmpty { return nil }
        guard text.hasPrefix(":"), let port = Int(text.dropFirst()), 1...65_535 ~= port else {
            throw ClientError(.badURL, "\(url) has no valid port")
        }
        return port
    }

    /// The value for a `Host` header.
    package var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// What went wrong between a client and its server.
package struct ClientError: Error, Equatable, CustomStringConvertible, Sendable {
    package enum Code: Equatable, Sendable {
        case badURL
        /// There is no connection to be had, or it is lost.
        case unavailable
        /// Its certificate is not to be trusted, or it speaks no TLS.
        case untrusted
        /// It answered the handshake with this status of HTTP.
        case refused(status: Int)
        /// The server does not keep to the protocol.
        case protocolViolation
    }

    package let code: Code
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
