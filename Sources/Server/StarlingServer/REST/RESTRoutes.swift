import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// The protocol over HTTP: each request is one of its messages, on a connection of a shard.
struct RESTAPI: API {
    /// As protocol/openapi.json describes them.
    let routes: [Route] =
        [
            Route(path: "/v1/keys", methods: [.get, .put, .patch, .delete]),
            Route(path: "/v1/keys/{key}", methods: [.get, .put, .patch, .delete]),
            Route(path: "/v1/claims", methods: [.post, .patch, .delete]),
            Route(path: "/v1/claims/{key}", methods: [.post, .patch, .delete]),
            Route(path: "/v1/batches", methods: [.post]), Route(path: "/v1/events", methods: [.get]),
            Route(path: "/openapi.json", methods: [.get]),
        ] + SwarmRoutes.described + MemoryRoutes.described

    func add(to router: Router<HTTPContext>) {
        KeyRoutes.add(to: router)
        ClaimRoutes.add(to: router)
        BatchRoutes.add(to: router)
        EventRoutes.add(to: router)
        SwarmRoutes.add(to: router)
        MemoryRoutes.add(to: router)
        let document = ByteBuffer(bytes: PackageResources.openapi_json)
        router.get("/openapi.json") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: document))
        }
    }
}

/// What the routes of the protocol share.
enum RESTRoutes {
    /// Makes problem details of a problem.
    static func answer(_ work: () async throws(Problem) -> Response) async -> Response {
        do throws(Problem) {
            return try await work()
        } catch {
            return error.response
        }
    }

    /// The key that a request is about: the rest of the path, encoded once, or the parameter `key`.
    static func key(of request: Request, _ query: Query, under path: String) throws(Problem) -> String {
        let named = try query.one("key")
        // The router passes over empty segments; a key would be cut out of such a path in the wrong place.
        guard request.uri.path == path || request.uri.path.hasPrefix(path + "/") else {
            throw Problem(.notFound, "no_route", "there is no \(request.uri.path)")
        }
        let rest = request.uri.path.dropFirst(path.count + 1)
        if let named {
            guard rest.isEmpty else { throw Problem(.badMessage, "the key is in the path and in the query") }
            return named
        }
        guard let key = Percent.decode(rest) else {
            throw Problem(.badKey, "\(rest) in the path is not percent-encoded text")
        }
        return key
    }

    /// What came with a request: it is all there, and within its limit.
    static func body(of request: Request) async -> ByteBuffer {
        var request = request
        return (try? await request.collectBody(upTo: .max)) ?? ByteBuffer()
    }

    /// Adds the members of a request's body to a message, and the op that `Idempotency-Key` is.
    ///
    /// - Parameters:
    ///   - fields: the members that there may be.
    ///   - mayBeEmpty: whether there may be no body, too.
    ///   - check: finds out what is wrong with one.
    static func addBody(
        of request: Request, _ fields: Set<String>, mayBeEmpty: Bool = false, to message: inout SyncMessage,
        check: (_ name: String, _ json: [UInt8]) throws(Problem) -> Void = { (_, _) throws(Problem) in }
    ) async throws(Problem) {
        let op = fields.contains("op") ? try op(of: request) : nil
        let bytes = Array(await body(of: request).readableBytesView)
        guard String(validating: bytes, as: UTF8.self) != nil else { throw Problem(.badJSON, "the body is no UTF-8") }
        let members: [(name: String, value: [UInt8])]
        do throws(JSONError) {
            members = bytes.isEmpty && mayBeEmpty ? [] : try JSONObject(bytes).members
        } catch {
            // The rest of that sentence is about messages.
            let problem = if case .notAnObject = error.problem { "it is another value" } else { "\(error)" }
            throw Problem(
                .badJSON,
                bytes.isEmpty
                    ? "the body is empty; it is an object of JSON" : "the body is no object of JSON: \(problem)")
        }
        for (name, json) in members {
            guard fields.contains(name) else {
                let names = fields.sorted().joined(separator: ", ")
                throw Problem(.badMessage, "there is no field \(name) here; there are \(names)")
            }
            try check(name, json)
            if name == "op", op != nil {
                if json.elementsEqual("null".utf8) { continue }
                throw Problem(.badMessage, "Idempotency-Key is the op of the body, and both are there: which is it?")
            }
            do throws(WireError) {
                try message.add(name, json: ByteBuffer(bytes: json))
            } catch {
                throw Problem(error)
            }
        }
        message.add("op", op)
    }

    /// The op that `Idempotency-Key` is.
    static func op(of request: Request) throws(Problem) -> String? {
        guard let op = request.headers[.idempotencyKey] else { return nil }
        // What was no UTF-8 has become this.
        guard 1...128 ~= op.utf8.count, !op.unicodeScalars.contains("\u{FFFD}") else {
            throw Problem(.badMessage, "Idempotency-Key is a text of 1 to 128 bytes, with at least 64 random bits")
        }
        return op
    }

    /// An answer as a body: without what only pairs answers with questions.
    static func json(_ answer: JSONObject, status: HTTPResponse.Status = .ok) -> Response {
        var body = ByteBuffer()
        var separator = "{"
        for (name, value) in answer.members where name != "type" && name != "id" {
            body.writeString(separator)
            body.writeJSONString(name)
            body.writeString(":")
            body.writeBytes(value)
            separator = ","
        }
        body.writeString(separator == "{" ? "{}\n" : "}\n")
        return Response(
            status: status, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }
}
