import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import Registers
import SyncProtocol

/// `/v1/memory`, `/v1/knowledge` and `/v1/search`: what agents remember and know, over HTTP. A memory is a resource as a key is: its value is the
/// representation, and its version the entity tag.
enum MemoryRoutes {
    private static let marks: Set<String> = ["ttl", "tag", "refresh_on_read", "priority", "index", "metadata"]

    static func add(to router: Router<HTTPContext>) {
        let routes:
            [(RouterPath, HTTPRequest.Method, @Sendable (Request, HTTPContext) async throws(Problem) -> Response)] = [
                ("/v1/memory", .get, list), ("/v1/memory/:agent/**", .get, recall),
                ("/v1/memory/:agent/**", .put, store),
                ("/v1/memory/:agent/**", .delete, forget), ("/v1/search", .get, search),
                ("/v1/knowledge", .get, topics),
                ("/v1/knowledge", .post, learn), ("/v1/knowledge/:knowledge", .get, knowledge),
                ("/v1/knowledge/:knowledge", .put, learn), ("/v1/knowledge/:knowledge", .delete, forgetKnowledge),
            ]
        for (path, method, handle) in routes {
            router.on(path, method: method) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await handle(request, context) }
            }
        }
    }

    /// As protocol/openapi.json describes them.
    static let described = [
        Route(path: "/v1/memory", methods: [.get]),
        Route(path: "/v1/memory/{agent}/{key}", methods: [.get, .put, .delete]),
        Route(path: "/v1/search", methods: [.get]), Route(path: "/v1/knowledge", methods: [.get, .post]),
        Route(path: "/v1/knowledge/{knowledge}", methods: [.get, .put, .delete]),
    ]

    // MARK: Memories

    /// The agent and the name that stand in a path, each encoded once; the name is the rest of it.
    private static func memory(_ request: Request) throws(Problem) -> (agent: String, name: String) {
        let rest = request.uri.path.dropFirst("/v1/memory/".count)
        guard let end = rest.firstIndex(of: "/"), let agent = Percent.decode(rest[..<end]),
            let name = Percent.decode(rest[rest.index(after: end)...])
        else {
            throw Problem(
                .badKey, "\(rest) in the path is no agent and key, percent-encoded: /v1/memory/ada/auth/decision")
        }
        return (agent, name)
    }

    private static func recall(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        let (agent, name) = try memory(request)
        var question = SyncMessage(ServiceCall.Name.memoryGet.rawValue)
        question.add("agent", agent)
        question.add("key", name)
        let answer = try await context.session.ask(question, as: try Caller(request.headers))
        let found = Found(answer)
        guard found.value != nil else {
            var problem = Problem(.notFound, "absent", "\(agent) remembers nothing under \(name)")
            if let others = answer.raw("agents") { problem.members = [("agents", others)] }
            throw problem
        }
        guard request.headers[.ifNoneMatch].map({ EntityTag.versions($0).match(found.version) }) ?? false else {
            return found.response
        }
        var response = found.response
        response.status = .notModified
        response.body = ResponseBody()
        response.headers[.contentType] = nil
        return response
    }

    private static func store(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: marks)
        let (agent, name) = try memory(request)
        var write = SyncMessage(MemoryMessage.put.rawValue)
        write.add("agent", agent)
        try await KeyRoutes.add(bodyOf: request, to: &write)
        if let ttl = try query.one("ttl") { try KeyRoutes.add(ttl: ttl, to: &write) }
        write.add("priority", try query.one("priority"))
        for flag in ["refresh_on_read", "index"] { try add(flag, of: query, to: &write) }
        if let metadata = try query.one("metadata") { try add("metadata", ByteBuffer(string: metadata), to: &write) }
        try add("tags", query.all("tag"), to: &write)
        write.add("op", try RESTRoutes.op(of: request))
        return try await KeyRoutes.carryOut(write, of: name, request, context)
    }

    private static func forget(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        let (agent, name) = try memory(request)
        var delete = SyncMessage(MemoryMessage.delete.rawValue)
        delete.add("agent", agent)
        delete.add("op", try RESTRoutes.op(of: request))
        return try await KeyRoutes.carryOut(delete, of: name, request, context)
    }

    private static func list(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["agent", "prefix", "limit", "after"])
        guard let agent = try query.one("agent") else {
            throw Problem(.missingField, "?agent= says whose memories; GET /v1/search finds those of all")
        }
        var question = SyncMessage(MemoryMessage.list.rawValue)
        question.add("agent", agent)
        question.add("prefix", try query.one("prefix"))
        question.add("after", try query.one("after"))
        question.add("limit", try query.number("limit", 1...UInt64(ClientMessage.List.maximumLimit)))
        return RESTRoutes.json(try await context.session.ask(question, as: try Caller(request.headers)))
    }

    // MARK: Search

    private static func search(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(
            request, known: ["q", "in", "agent", "pattern", "tag", "limit", "order", "except_session", "wait", "match"])
        guard let text = try query.one("q") else { throw Problem(.missingField, "?q= says what to look for") }
        var question = SyncMessage(ServiceCall.Name.search.rawValue)
        question.add("query", text)
        for name in ["agent", "pattern", "order", "match", "except_session"] { question.add(name, try query.one(name)) }
        question.add("limit", try query.number("limit", 1...UInt64(Search.maximumLimit)))
        if let wait = try query.one("wait") { try add("wait", ByteBuffer(string: wait), to: &question) }
        try add("in", query.all("in"), to: &question)
        try add("tags", query.all("tag"), to: &question)
        return RESTRoutes.json(try await context.session.ask(question, as: try Caller(request.headers)))
    }

    // MARK: Knowledge

    private static func learn(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        var message = SyncMessage(ServiceCall.Name.knowledgePut.rawValue)
        if context.parameters.get("knowledge") != nil { message.add("knowledge", try id(context)) }
        try await RESTRoutes.addBody(
            of: request, ["topic", "content", "tags", "source", "confidence", "ttl", "supersedes", "op"], to: &message)
        let answer = try await context.session.ask(message, as: try Caller(request.headers))
        return RESTRoutes.json(answer, status: answer.bool("created") == true ? .created : .ok)
    }

    private static func knowledge(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        var question = SyncMessage(ServiceCall.Name.knowledgeGet.rawValue)
        let id = try id(context)
        question.add("knowledge", id)
        let answer = try await context.session.ask(question, as: try Caller(request.headers))
        guard answer.bool("found") == true else { throw Problem(.notFound, "absent", "there is no knowledge \(id)") }
        return RESTRoutes.json(answer)
    }

    private static func forgetKnowledge(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        var delete = SyncMessage("delete")
        delete.add("op", try RESTRoutes.op(of: request))
        let id = try id(context)
        let segment: Segment
        do throws(TextError) {
            segment = try Segment(id)
        } catch {
            throw Problem(.badKey, error.description)
        }
        return try await KeyRoutes.carryOut(
            delete, of: "knowledge:" + String(decoding: segment.escaped, as: UTF8.self), request, context)
    }

    private static func topics(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["topic", "tag", "limit", "after"])
        var question = SyncMessage(ServiceCall.Name.knowledgeList.rawValue)
        for name in ["topic", "tag", "after"] { question.add(name, try query.one(name)) }
        question.add("limit", try query.number("limit", 1...UInt64(KnowledgeFilter.maximumLimit)))
        return RESTRoutes.json(try await context.session.ask(question, as: try Caller(request.headers)))
    }

    private static func id(_ context: HTTPContext) throws(Problem) -> String {
        guard let text = context.parameters.get("knowledge"), let id = Percent.decode(text[...]) else {
            throw Problem(.badKey, "knowledge in the path is not percent-encoded text")
        }
        return id
    }

    // MARK: Members

    private static func add(_ flag: String, of query: Query, to message: inout SyncMessage) throws(Problem) {
        guard let text = try query.one(flag) else { return }
        guard let value = Bool(text) else { throw Problem(.badMessage, "\(flag) is \(text); it is true or false") }
        message.add(flag, value)
    }

    private static func add(_ name: String, _ texts: [String], to message: inout SyncMessage) throws(Problem) {
        guard !texts.isEmpty else { return }
        var array = ByteBuffer(string: "[")
        for (index, text) in texts.enumerated() {
            if index > 0 { array.writeString(",") }
            array.writeJSONString(text)
        }
        array.writeString("]")
        try add(name, array, to: &message)
    }

    private static func add(_ name: String, _ json: ByteBuffer, to message: inout SyncMessage) throws(Problem) {
        do throws(WireError) {
            try message.add(name, json: json)
        } catch {
            throw Problem(error)
        }
    }
}
