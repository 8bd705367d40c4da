/// The server's side of the opening handshake (RFC 6455, section 4.2).
package struct Handshake: Sendable {
    /// The name of the sync protocol.
    package static let subprotocol = "starling.v1"

    /// What a subprotocol that carries credentials begins with, for browsers, whose pages cannot set headers.
    private static let credentialPrefix = "starling.bearer."

    /// The credentials among the subprotocols that a client offers. They are never answered.
    package static func credential(of request: RequestHead) -> String? {
        request.elements("sec-websocket-protocol").first { $0.hasPrefix(credentialPrefix) }
            .map { String($0.dropFirst(credentialPrefix.count)) }
    }

    package let policy: RequestPolicy
    package let compression: DeflateParameters.Policy

    package init(policy: RequestPolicy = RequestPolicy(), compression: DeflateParameters.Policy = .off) {
        self.policy = policy
        self.compression = compression
    }

    /// The answer to a good request.
    package struct Acceptance: Sendable {
        /// The whole `101` response.
        package var response: String
        /// How messages are compressed; nil: they are not.
        package var deflate: DeflateParameters?
    }

    /// Why a handshake is refused.
    package enum Refusal: Error, Equatable, Sendable {
        case method(String)
        case version
        /// Somebody else could read the request in another way.
        case ambiguous(String)
        case body
        case notAnUpgrade
        case connection
        case key
        case webSocketVersion
        /// The request must not be carried out, whatever it asks for.
        case notAllowed(RequestPolicy.Refusal)

        package var status: String {
            switch self {
            case .method: "405 Method Not Allowed"
            case .version: "505 HTTP Version Not Supported"
            case .notAnUpgrade, .webSocketVersion: "426 Upgrade Required"
            case .notAllowed(let refusal): refusal.status
            case .ambiguous, .body, .connection, .key: "400 Bad Request"
            }
        }

        package var message: String {
            switch self {
            case .method(let method): "a WebSocket handshake is a GET request, not \(method)"
            case .version: "a WebSocket handshake needs HTTP/1.1"
            case .ambiguous(let problem): problem
            case .body: "a WebSocket handshake has no body"
            case .notAnUpgrade: "this address speaks WebSocket: connect to it with ws://, for example by websocat"
            case .connection: "the Connection header does not name Upgrade"
            case .key: "Sec-WebSocket-Key must be given once, as the base64 of 16 bytes"
            case .webSocketVersion: "Sec-WebSocket-Version must be 13"
            case .notAllowed(let refusal): refusal.message
            }
        }

        private var headers: [(String, String)] {
            switch self {
            case .method: [("Allow", "GET")]
            case .notAnUpgrade, .webSocketVersion:
                // Section 4.2.2, item 4: the versions that the server does speak.
                [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
            case .version, .ambiguous, .body, .connection, .key, .notAllowed: []
            }
        }

        /// The whole response, after which the connection is closed.
        package var response: String {
            var lines = ["HTTP/1.1 \(status)"]
            lines += headers.map { "\($0.0): \($0.1)" }
            lines += ["Content-Type: text/plain; charset=utf-8", "Content-Length: \(message.utf8.count + 1)"]
            if !headers.contains(where: { $0.0 == "Connection" }) { lines.append("Connection: close") }
            return lines.joined(separator: "\r\n") + "\r\n\r\n\(message)\n"
        }
    }

    /// Answers a request.
    ///
    /// - Parameter subprotocols: those that are spoken: the first one that the client offers of them is answered.
    /// - Throws: the first thing that is wrong with the request, in the order of section 4.2.1.
    package func accept(
        _ request: RequestHead, speaking subprotocols: [String] = [Handshake.subprotocol]
    ) throws(Refusal) -> Acceptance {
        if request.method != "GET" { throw .method(request.method) }
        if request.version != (1, 1) { throw .version }
        if let problem = request.ambiguity { throw .ambiguous(problem) }
        let host = request.values("host").first ?? ""
        if !request.has("websocket", in: "upgrade") { throw .notAnUpgrade }
        if !request.has("upgrade", in: "connection") { throw .connection }
        if request.values("sec-websocket-version") != ["13"] { throw .webSocketVersion }
        let keys = request.values("sec-websocket-key")
        guard keys.count == 1, let key = keys.first, AcceptKey.isValid(key) else { throw .key }
        if !request.values("transfer-encoding").isEmpty
            || request.values("content-length").contains(where: { $0 != "0" })
        {
            throw .body
        }
        if let refusal = policy.check(
            host: host, origin: request.values("origin").first, fetchSite: request.values("sec-fetch-site").first)
        {
            throw .notAllowed(refusal)
        }
        var lines = [
            "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Accept: \(AcceptKey.make(for: key))",
        ]
        if let spoken = request.elements("sec-websocket-protocol").first(where: subprotocols.contains) {
            lines.append("Sec-WebSocket-Protocol: \(spoken)")
        }
        let agreed = DeflateParameters.negotiate(request.elements("sec-websocket-extensions"), compression)
        if let agreed { lines.append("Sec-WebSocket-Extensions: \(agreed.answer)") }
        return Acceptance(response: lines.joined(separator: "\r\n") + "\r\n\r\n", deflate: agreed?.parameters)
    }
}
