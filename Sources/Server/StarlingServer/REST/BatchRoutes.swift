import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// `/v1/batches`: several keys that change in one commit, or none of them.
enum BatchRoutes {
    static func add(to router: Router<HTTPContext>) {
        router.post("/v1/batches") { request, context in
            await RESTRoutes.answer { () throws(Problem) in try await carryOut(request, context) }
        }
    }

    private static func carryOut(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        guard request.headers[.ifMatch] == nil, request.headers[.ifNoneMatch] == nil else {
            throw Problem(
                .badMessage, "conditions of a batch are in its body: If-Match and If-None-Match say nothing here")
        }
        var message = SyncMessage("batch")
        try await RESTRoutes.addBody(of: request, ["require", "writes", "op"], to: &message) {
            (name, json) throws(Problem) in
            if let unknown = ClientMessage.Batch.unknownField(in: name, json) { throw Problem(.badMessage, unknown) }
        }
        return RESTRoutes.json(try await context.session.ask(message, as: try Caller(request.headers)))
    }
}
