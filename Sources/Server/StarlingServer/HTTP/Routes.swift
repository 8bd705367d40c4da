import HTTPTypes
import Hummingbird
import NIOCore
import WebSocket

/// The HTTP routes.
enum Routes {
    /// What the routes ask the server for.
    struct Probes: Sendable {
        /// Why the server cannot serve writes; nil if it can.
        var problem: @Sendable () -> String?
        /// What would keep the server from starting again, or from being reached, though it serves now.
        var warnings: @Sendable () -> [String]
        var metrics: @Sendable () async throws -> String
    }

    /// Where there is something to be read.
    private static let paths: Set<String> = ["/", "/healthz", "/readyz", "/metrics", "/openapi.json"]

    /// What a path may be asked for; nil: there is no such path.
    static func methods(for path: String) -> [HTTPRequest.Method]? {
        guard let methods = paths.contains(path) ? [.get] : RESTRoutes.methods(for: path) else { return nil }
        return methods.flatMap { $0 == .get ? [.get, .head] : [$0] } + [.options]
    }

    static func responder(
        _ probes: Probes, _ callers: Callers, _ policy: RequestPolicy
    ) -> some HTTPResponder<HTTPContext> {
        let router = Router(context: HTTPContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: RequestCheck(policy: policy))
        router.get("/healthz") { _, _ in text("ok\n") }
        router.get("/readyz") { _, _ in
            if let problem = probes.problem() {
                text("not ready: \(problem)\n", status: .serviceUnavailable)
            } else {
                text("ready\n" + probes.warnings().map { "but \($0)\n" }.joined())
            }
        }
        router.get("/metrics") { request, context in
            guard await callers.mayMonitor(request, from: context.remoteAddress) else {
                return text(
                    "metrics are for this machine, and for tokens with \"monitor\": true\n", status: .forbidden)
            }
            return text(try await probes.metrics(), type: "text/plain; version=0.0.4; charset=utf-8")
        }
        router.get("/") { _, _ in
            text(
                "This is a Starling server. Its WebSocket is at /sync, and what it does over HTTP is in /openapi.json; see also "
                    + "/healthz, /readyz and /metrics.\n")
        }
        RESTRoutes.add(to: router)
        return router.buildResponder()
    }

    private static func text(
        _ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8"
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
