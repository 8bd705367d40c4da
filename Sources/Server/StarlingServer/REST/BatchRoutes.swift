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
            (name, json) throws(Problem) in try check(name, json)
        }
        return RESTRoutes.json(try await context.session.ask(message, as: try Caller(request.headers)))
    }

    /// The fields that an element of each array may have. On the wire what is not known is ignored; here a mistyped condition is not to be
    /// none.
    private static let fields: [String: Set<String>] = [
        "writes": ["key", "value", "ttl", "metadata", "session", "expect", "delete", "release"],
        "require": ["key", "version", "fence"],
    ]

    private static func check(_ name: String, _ json: [UInt8]) throws(Problem) {
        guard let known = fields[name], let elements = JSONObject.elements(of: json) else { return }
        for (index, element) in elements.enumerated() {
            guard let members = (try? JSONObject(element))?.members else { continue }
            for member in members where !known.contains(member.name) {
                throw Problem(
                    .badMessage,
                    "\(name)[\(index)]: there is no field \(member.name); there are "
                        + known.sorted().joined(separator: ", "))
            }
        }
    }
}
