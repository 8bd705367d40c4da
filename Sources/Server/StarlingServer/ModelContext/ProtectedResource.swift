import HTTPTypes
import Hummingbird
import NIOCore
import SyncProtocol

/// Says whose tokens are taken here (RFC 9728, *OAuth 2.0 Protected Resource Metadata*).
struct ProtectedResource: Sendable {
    static let paths = ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]

    /// nil: there are no access rules.
    let access: AccessControl?
    /// Whether it is this server that ends TLS.
    let isEncrypted: Bool

    /// What a request would be sent to, as who sent it names the server.
    private func base(_ request: Request) -> String {
        (isEncrypted ? "https://" : "http://") + (request.head.authority ?? "localhost")
    }

    private var issuers: [AccessFile.Issuer] { access?.issuers ?? [] }

    /// What is said to who has no good credentials.
    func challenge(_ request: Request) -> String {
        issuers.isEmpty ? "Bearer" : "Bearer resource_metadata=\"\(base(request))\(Self.paths[1])\""
    }

    /// The document.
    func response(_ request: Request) -> Response {
        guard !issuers.isEmpty else {
            return Problem(.notFound, "no_issuers", "no issuer's tokens are taken here; see docs/security.md").response
        }
        // Tokens are for what `aud` names: where that is a URL, it is this server's.
        let named = issuers.map(\.audience).first { $0.hasPrefix("https://") || $0.hasPrefix("http://") }
        var body = ByteBuffer(string: "{\"resource\":")
        body.writeJSONString(named ?? base(request) + "/mcp")
        body.writeString(",\"authorization_servers\":[")
        for (index, issuer) in Set(issuers.map(\.issuer)).sorted().enumerated() {
            if index > 0 { body.writeString(",") }
            body.writeJSONString(issuer)
        }
        body.writeString(
            "],\"scopes_supported\":[],\"bearer_methods_supported\":[\"header\"],\"resource_name\":\"Starling\"}\n")
        return Response(
            status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }
}
