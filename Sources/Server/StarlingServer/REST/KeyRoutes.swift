import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// `/v1/keys`: a key as a resource. Its value is the representation, and its version the entity tag.
enum KeyRoutes {
    private static let writing: Set<String> = ["key", "ttl"]
    private static let reading: Set<String> = ["key", "wait", "revision"]
    private static let listing: Set<String> = ["pattern", "limit", "after"]

    static func add(to router: Router<HTTPContext>) {
        for path: RouterPath in ["/v1/keys", "/v1/keys/**"] {
            router.get(path) { request, context in
                await answer { () throws(Problem) in try await get(request, context) }
            }
            router.put(path) { request, context in
                await answer { () throws(Problem) in try await put(request, context) }
            }
            router.patch(path) { request, context in
                await answer { () throws(Problem) in try await touch(request, context) }
            }
            router.delete(path) { request, context in
                await answer { () throws(Problem) in try await delete(request, context) }
            }
        }
    }

    /// Makes problem details of a problem.
    static func answer(_ work: () async throws(Problem) -> Response) async -> Response {
        do throws(Problem) {
            return try await work()
        } catch {
            return error.response
        }
    }

    // MARK: Reading

    private static func get(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let caller = try Caller(request.headers)
        let isList =
            request.uri.path == "/v1/keys" && !(request.uri.query ?? "").hasPrefix("key=")
            && !(request.uri.query ?? "").contains("&key=")
        if isList { return try await list(request, context, caller) }
        let query = try Query(request, known: reading)
        let key = try key(of: request, query)
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
        guard found.value != nil else { throw Problem(.notFound, "absent", "there is no \(key)") }
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
        _ request: Request, _ context: HTTPContext, _ caller: Caller
    ) async throws(Problem) -> Response {
        let query = try Query(request, known: listing)
        var question = SyncMessage("list")
        question.add("pattern", try query.one("pattern"))
        question.add("after", try query.one("after"))
        question.add("limit", try query.number("limit", 1...UInt64(ClientMessage.List.maximumLimit)))
        return json(try await context.session.ask(question, as: caller))
    }

    // MARK: Writing

    private static func put(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: writing)
        _ = try key(of: request, query)
        var write = SyncMessage("broadcast")
        try await add(bodyOf: request, to: &write)
        if let ttl = try query.one("ttl") { try add(ttl: ttl, to: &write) }
        return try await carryOut(write, request, query, context)
    }

    private static func add(ttl: String, to message: inout SyncMessage) throws(Problem) {
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
        guard request.headers[.ifMatch] == nil, request.headers[.ifNoneMatch] == nil else {
            throw Problem(
                .badMessage, "a key is touched whatever its version: If-Match and If-None-Match say nothing here")
        }
        return try await carryOut(touch, request, query, context)
    }

    private static func delete(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["key"])
        return try await carryOut(SyncMessage("delete"), request, query, context)
    }

    private static func carryOut(
        _ write: SyncMessage, _ request: Request, _ query: Query, _ context: HTTPContext
    ) async throws(Problem) -> Response {
        var write = write
        write.add("key", try key(of: request, query))
        try addConditions(of: request, to: &write)
        let answer = try await context.session.ask(write, as: try Caller(request.headers))
        var response = json(answer)
        if let version = answer.string("version") { response.headers[.eTag] = EntityTag.text(of: version) }
        response.headers[.starlingRevision] = answer.integer("revision").map { "\($0)" }
        response.headers[.starlingExpiresAt] = answer.integer("expires_at").map { "\($0)" }
        return response
    }

    private static func add(bodyOf request: Request, to write: inout SyncMessage) async throws(Problem) {
        let body = await body(of: request)
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

    /// What came with a request: it is all there, and within its limit.
    static func body(of request: Request) async -> ByteBuffer {
        var request = request
        return (try? await request.collectBody(upTo: .max)) ?? ByteBuffer()
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

    // MARK: Names and answers

    /// The key that a request is about: the rest of the path, encoded once, or the parameter `key`.
    static func key(of request: Request, _ query: Query, under path: String = "/v1/keys") throws(Problem) -> String {
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

    /// A register, as an answer or an update has it.
    struct Found {
        let value: [UInt8]?
        let version: String?
        let revision: Int64?
        let expiresAt: Int64?

        init(absent: Void) {
            (value, version, revision, expiresAt) = (nil, nil, nil, nil)
        }

        init(_ message: JSONObject) {
            let isAbsent = message.bool("found") == false || message.bool("deleted") == true
            value = isAbsent ? nil : message.raw("value")
            version = message.string("version")
            revision = message.integer("revision")
            expiresAt = message.integer("expires_at")
        }

        var response: Response {
            var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-cache"]
            headers[.eTag] = version.map(EntityTag.text(of:))
            headers[.starlingRevision] = revision.map { "\($0)" }
            headers[.starlingExpiresAt] = expiresAt.map { "\($0)" }
            return Response(
                status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: value ?? [])))
        }
    }
}
