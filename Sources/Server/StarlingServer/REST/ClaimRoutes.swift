import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// `/v1/claims/{key}`: one holder at a time. Fences go in the body.
enum ClaimRoutes {
    static func add(to router: Router<HTTPContext>) {
        for path: RouterPath in ["/v1/claims", "/v1/claims/**"] {
            add(path, .post, "claim", ["ttl", "value", "metadata", "op"], to: router)
            add(path, .patch, "renew", ["fence", "ttl", "value", "metadata"], to: router)
            add(path, .delete, "release", ["fence"], to: router)
        }
    }

    private static func add(
        _ path: RouterPath, _ method: HTTPRequest.Method, _ type: String, _ fields: Set<String>,
        to router: Router<HTTPContext>
    ) {
        router.on(path, method: method) { request, context in
            await RESTRoutes.answer { () throws(Problem) in
                try await carryOut(type, fields, request, context)
            }
        }
    }

    private static func carryOut(
        _ type: String, _ fields: Set<String>, _ request: Request, _ context: HTTPContext
    ) async throws(Problem) -> Response {
        let query = try Query(request, known: ["key"])
        guard request.headers[.ifMatch] == nil, request.headers[.ifNoneMatch] == nil else {
            throw Problem(.badMessage, "a claim goes by its fence: If-Match and If-None-Match say nothing here")
        }
        var message = SyncMessage(type)
        message.add("key", try RESTRoutes.key(of: request, query, under: "/v1/claims"))
        try await RESTRoutes.addBody(of: request, fields, to: &message)
        return RESTRoutes.json(try await context.session.ask(message, as: try Caller(request.headers)))
    }
}
