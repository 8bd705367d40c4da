/// The client's side of the opening handshake (RFC 6455, section 4.1).
package struct ClientHandshake: Sendable {
    private let key: String

    /// - Parameter random: 16 random bytes.
    package init(random: [UInt8]) {
        key = AcceptKey.base64(random)
    }

    /// The request for `path` on `host`, which has its port where that is not the usual one, with credentials if any.
    package func request(host: String, path: String, token: String? = nil) -> String {
        let credentials = token.map { "Authorization: Bearer \($0)\r\n" } ?? ""
        return """
            GET \(path) HTTP/1.1\r
            Host: \(host)\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Key: \(key)\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Protocol: \(Handshake.subprotocol)\r
            \(credentials)\r\n
            """
    }

    /// Checks a response.
    ///
    /// - Parameter bytes: its head, up to and with the empty line, and what is there of its body.
    /// - Returns: nil when the connection is open, else what is wrong, for a person.
    package func problem(inResponse bytes: some Collection<UInt8>) -> String? {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
        guard let status = lines.first, status.hasPrefix("HTTP/1.1 ") else { return "the server does not speak HTTP" }
        guard status.hasPrefix("HTTP/1.1 101") else {
            return
                "the server answered \(status.dropFirst(9))\(Self.explanation(String(decoding: bytes, as: UTF8.self)))"
        }
        let accept = lines.dropFirst().first { $0.lowercased().hasPrefix("sec-websocket-accept:") }
        let value = accept?.drop { $0 != ":" }.dropFirst().drop { $0 == " " }
        return value.map(String.init) == AcceptKey.make(for: key) ? nil : "the server's Sec-WebSocket-Accept is wrong"
    }

    /// The status of a response that is no handshake's; nil where it has none.
    package func status(ofResponse bytes: some Collection<UInt8>) -> Int? {
        Int(String(decoding: bytes, as: UTF8.self).dropFirst("HTTP/1.1 ".count).prefix(3))
    }

    /// What a response says for a person, where it does: the first line of its body.
    private static func explanation(_ response: String) -> String {
        guard let body = response.firstRange(of: "\r\n\r\n"),
            let line = response[body.upperBound...].split(separator: "\n").first
        else { return response.hasPrefix("HTTP/1.1 404") ? "; the path of a Starling server is usually /sync" : "" }
        return ": \(line.prefix(200))"
    }
}
