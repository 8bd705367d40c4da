import HTTPTypes
import Hummingbird
import NIOCore
import WebSocket

/// Carries out nothing that ``RequestPolicy`` does not allow, and lets pages read answers whose origin may connect (the Fetch
/// Standard, section 3.2): the same ones as for WebSockets. What is not said here is denied by browsers.
struct RequestCheck: RouterMiddleware {
    let policy: RequestPolicy
    let routes: RouteTable

    /// What changes nothing and says nothing, and is asked by machines that call the server by whatever name.
    private static let exempt: Set<String> = ["/healthz", "/readyz"]
    /// Where people may come by a link.
    private static let linked: Set<String> = ["/"]

    func handle(
        _ request: Request, context: HTTPContext, next: (Request, HTTPContext) async throws -> Response
    ) async throws -> Response {
        let host = request.head.authority ?? ""
        let origin = request.headers[.origin]
        let isLink = Self.linked.contains(request.uri.path) && request.headers[.fetchMode] == "navigate"
        let fetchSite = isLink ? nil : request.headers[.fetchSite]
        let isExempt = Self.exempt.contains(request.uri.path)
        if !isExempt, let refusal = policy.check(host: host, origin: origin, fetchSite: fetchSite) {
            return Self.answer(refusal)
        }
        guard let origin else { return try await answer(request, context, next) }
        let isPreflight = request.method == .options && request.headers[.accessControlRequestMethod] != nil
        var response = isPreflight ? Response(status: .noContent) : try await answer(request, context, next)
        // Also where it is not admitted: a cache must not give one origin's answer to another.
        response.headers[.vary] = "Origin"
        guard policy.admits(origin, host: host) else { return response }
        response.headers[.accessControlAllowOrigin] = origin
        if isPreflight {
            response.headers[.accessControlAllowMethods] = Self.list(
                routes.methods(for: request.uri.path[...]) ?? [.get])
            response.headers[.accessControlAllowHeaders] = Self.allowedHeaders
            response.headers[.accessControlMaxAge] = "600"
        } else {
            response.headers[.accessControlExposeHeaders] = Self.exposedHeaders
        }
        return response
    }

    /// Says which methods there are, to those who ask or use another one.
    private func answer(
        _ request: Request, _ context: HTTPContext, _ next: (Request, HTTPContext) async throws -> Response
    ) async throws -> Response {
        guard let methods = routes.methods(for: request.uri.path[...]),
            request.method == .options || !methods.contains(request.method)
        else { return try await next(request, context) }
        if request.method == .options { return Response(status: .noContent, headers: [.allow: Self.list(methods)]) }
        let names = Self.list(methods)
        var response = Problem(.methodNotAllowed, "no_method", "\(request.method) is not for this path; \(names) are")
            .response
        response.headers[.allow] = names
        return response
    }

    private static let allowedHeaders =
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Mcp-Method, Mcp-Name, MCP-Protocol-Version, Mcp-Session-Id, Starling-Agent, Starling-Session"
    private static let exposedHeaders =
        "ETag, Mcp-Session-Id, Retry-After, Starling-Degraded, Starling-Expires-At, Starling-Revision, WWW-Authenticate"

    private static func list(_ methods: [HTTPRequest.Method]) -> String {
        methods.map(\.rawValue).joined(separator: ", ")
    }

    private static func answer(_ refusal: RequestPolicy.Refusal) -> Response {
        let status: HTTPResponse.Status =
            switch refusal {
            case .host: .misdirectedRequest
            case .origin, .crossSite: .forbidden
            }
        return Response(
            status: status, headers: [.contentType: "text/plain; charset=utf-8", .vary: "Origin"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: refusal.message + "\n")))
    }
}

extension HTTPField.Name {
    fileprivate static let fetchSite = HTTPField.Name("Sec-Fetch-Site")!
    fileprivate static let fetchMode = HTTPField.Name("Sec-Fetch-Mode")!
}
