import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// `/v1/keys`: a key as a resource. Its value is the representation, and its version the entity tag.
enum KeyRoutes {
    private static let path = "/v1/keys"
    private static let writing: Set<String> = ["key", "ttl"]
    private static let reading: Set<String> = ["key", "wait", "revision"]
    private static let listing: Set<String> = ["pattern", "limit", "after"]

    static func add(to router: Router<HTTPContext>) {
        for path: RouterPath in ["/v1/keys", "/v1/keys/**"] {
            router.get(path) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await get(request, context) }
            }
            router.put(path) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await put(request, context) }
            }
            router.patch(path) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await touch(request, context) }
            }
            router.delete(path) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await delete(request, context) }
            }
        }
    }

    // MARK: Reading

    private static func get(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let caller = try Caller(request.headers)
        let query = try Query(request)
        if request.uri.path == path, try query.one("key") == nil { return try await list(query, context, caller) }
        try query.allow(reading)
        let key = try RESTRoutes.key(of: request, query, under: path)
        let known = request.headers[.ifNoneMatch].map(EntityTag.versions)
        let poll = try LongPoll(key: key, version: known?.only, query)
        var question = SyncMessage("get")
        question.add("key", key)
        var found = Found(try await context.session.ask(question, as: caller))
        if let poll, !poll.isOver(found) {
            guard let changed = try await poll.wait(context.session, caller) else {
                return known == nil ? Response(status: .noContent) : notModified(found)
            }
            found = changed
        }
        guard found.value != nil else { throw Problem(.notFound, "absent", "the key \(key) has no value") }
        if let known, known.match(found.version), poll?.revision == nil { return notModified(found) }
        return found.response
    }

    private static func notModified(_ found: Found) -> Response {
        var response = found.response
        response.status = .notModified
        response.body = ResponseBody()
        response.headers[.contentType] = nil
        return response
    }

    private static func list(
        _ query: Query, _ context: HTTPContext, _ caller: Caller
    ) async throws(Problem) -> Response {
        try query.allow(listing)
        var question = SyncMessage("list")
        question.add("pattern", try query.one("pattern"))
        question.add("after", try query.one("after"))
        question.add("limit", try query.number("limit", 1...UInt64(ClientMessage.List.maximumLimit)))
        return RESTRoutes.json(try await context.session.ask(question, as: caller))
    }

    // MARK: Writing

    private static func put(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: writing)
        let key = try RESTRoutes.key(of: request, query, under: path)
        var write = SyncMessage("broadcast")
        try await add(bodyOf: request, to: &write)
        if let ttl = try query.one("ttl") { try add(ttl: ttl, to: &write) }
        write.add("op", try RESTRoutes.op(of: request))
        return try await carryOut(write, of: key, request, context)
    }

    static func add(ttl: String, to message: inout SyncMessage) throws(Problem) {
        let problem = Problem(.badMessage, "ttl is \(ttl); it is in seconds, and more than 0")
        guard ttl.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }) else { throw problem }
        do throws(WireError) {
            try message.add("ttl", json: ByteBuffer(string: ttl))
        } catch {
            throw problem
        }
    }

    private static func touch(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: writing)
        var touch = SyncMessage("touch")
        guard let ttl = try query.one("ttl") else {
            throw Problem(.missingField, "?ttl= says how long the key is to live from now, in seconds")
        }
        try add(ttl: ttl, to: &touch)
        guard await RESTRoutes.body(of: request).readableBytes == 0 else {
            throw Problem(
                .badMessage, "a touch has no body: PUT writes a value, and ?ttl= says how long the key is to live")
        }
        guard request.headers[.ifMatch] == nil, request.headers[.ifNoneMatch] == nil else {
            throw Problem(
                .badMessage, "a key is touched whatever its version: If-Match and If-None-Match say nothing here")
        }
        return try await carryOut(touch, of: try RESTRoutes.key(of: request, query, under: path), request, context)
    }

    private static func delete(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["key"])
        let key = try RESTRoutes.key(of: request, query, under: path)
        var delete = SyncMessage("delete")
        delete.add("op", try RESTRoutes.op(of: request))
        return try await carryOut(delete, of: key, request, context)
    }

    /// Sends a write with what a request says of conditions and who it is from.
    static func carryOut(
        _ write: SyncMessage, of key: String, _ request: Request, _ context: HTTPContext
    ) async throws(Problem) -> Response {
        var write = write
        write.add("key", key)
        try addConditions(of: request, to: &write)
        let answer = try await context.session.ask(write, as: try Caller(request.headers))
        var response = RESTRoutes.json(answer)
        if let version = answer.string("version") { response.headers[.eTag] = EntityTag.text(of: version) }
        response.headers[.starlingRevision] = answer.integer("revision").map { "\($0)" }
        response.headers[.starlingExpiresAt] = answer.integer("expires_at").map { "\($0)" }
        return response
    }

    static func add(bodyOf request: Request, to write: inout SyncMessage) async throws(Problem) {
        let body = await RESTRoutes.body(of: request)
        guard body.readableBytes > 0 else {
            throw Problem(.missingField, "a value is the body of the request, as JSON")
        }
        guard String(validating: body.readableBytesView, as: UTF8.self) != nil else {
            throw Problem(.badJSON, "the body is no UTF-8")
        }
        do throws(WireError) {
            try write.add("value", json: body)
        } catch {
            throw Problem(error)
        }
    }

    /// `If-Match` names the version that is to be in place, `If-None-Match: *` says that there is to be none.
    private static func addConditions(of request: Request, to write: inout SyncMessage) throws(Problem) {
        let matches = request.headers[.ifMatch]
        let misses = request.headers[.ifNoneMatch]
        switch (matches, misses) {
        case (nil, nil): break
        case (let header?, nil): write.add("expect", try EntityTag.version(header, of: .ifMatch))
        case (nil, "*"):
            do throws(WireError) {
                try write.add("expect", json: ByteBuffer(string: "null"))
            } catch {
                throw Problem(error)
            }
        case (nil, let header?):
            throw Problem(.badMessage, "If-None-Match is \(header); with a write it is *, for absent")
        case (_?, _?): throw Problem(.badMessage, "If-Match and If-None-Match do not go together")
        }
    }
}
