import HTTPTypes
import Hummingbird
import WebSocket

/// Lets pages read answers whose origin may connect (the Fetch Standard, section 3.2): the same ones as for WebSockets. What
/// is not said here is denied by browsers.
struct CrossOrigin: RouterMiddleware {
    let origins: Handshake.OriginPolicy

    func handle(
        _ request: Request, context: HTTPContext, next: (Request, HTTPContext) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin] else { return try await next(request, context) }
        let isAdmitted = origins.admits(origin, host: request.head.authority ?? "")
        let isPreflight = request.method == .options && request.headers[.accessControlRequestMethod] != nil
        var response = isPreflight ? Response(status: .noContent) : try await next(request, context)
        // Also where it is not admitted: a cache must not give one origin's answer to another.
        response.headers[.vary] = "Origin"
        guard isAdmitted else { return response }
        response.headers[.accessControlAllowOrigin] = origin
        if isPreflight {
            response.headers[.accessControlAllowMethods] = "GET, HEAD"
            response.headers[.accessControlAllowHeaders] = "Authorization"
            response.headers[.accessControlMaxAge] = "600"
        }
        return response
    }
}
