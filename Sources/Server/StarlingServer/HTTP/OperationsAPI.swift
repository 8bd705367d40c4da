import HTTPTypes
import Hummingbird
import NIOCore

/// What the server says of itself: whether it lives, whether it can serve, and its metrics.
struct OperationsAPI: API {
    /// What it asks the server for.
    struct Probes: Sendable {
        /// Why the server cannot serve writes; nil if it can.
        var problem: @Sendable () -> String?
        /// What would keep the server from starting again, or from being reached, though it serves now.
        var warnings: @Sendable () -> [String]
        var metrics: @Sendable () async throws -> String
    }

    let probes: Probes
    let callers: Callers

    let routes = ["/", "/healthz", "/readyz", "/metrics"].map { Route(path: $0, methods: [.get]) }

    func add(to router: Router<HTTPContext>) {
        router.get("/healthz") { _, _ in Self.text("ok\n") }
        router.get("/readyz") { [probes] _, _ in
            if let problem = probes.problem() {
                Self.text("not ready: \(problem)\n", status: .serviceUnavailable)
            } else {
                Self.text("ready\n" + probes.warnings().map { "but \($0)\n" }.joined())
            }
        }
        router.get("/metrics") { [probes, callers] request, context in
            guard await callers.mayMonitor(request, from: context.remoteAddress) else {
                return Self.text(
                    "metrics are for this machine, and for tokens with \"monitor\": true\n", status: .forbidden)
            }
            return Self.text(try await probes.metrics(), type: "text/plain; version=0.0.4; charset=utf-8")
        }
        router.get("/") { _, _ in
            Self.text(
                "This is a Starling server. Its WebSocket is at /sync, and what it does over HTTP is in /openapi.json; see also "
                    + "/healthz, /readyz and /metrics.\n")
        }
    }

    private static func text(
        _ text: String, status: HTTPResponse.Status = .ok, type: String = "text/plain; charset=utf-8"
    ) -> Response {
        Response(
            status: status, headers: [.contentType: type], body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
    }
}
