import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import Registers
import SyncProtocol

/// `/v1/swarms`: calls over HTTP. Names stand in the path, percent-encoded once; fences go in the body.
enum SwarmRoutes {
    /// What a request is made to a call by.
    private struct Endpoint {
        var path: String
        var method: HTTPRequest.Method
        var call: Call.Name
        /// The members that its body may have; nil: it has none.
        var body: Set<String>?
        /// The parameters that its query may have.
        var query: Set<String> = []
        var status = HTTPResponse.Status.ok
    }

    private static let settings: Set<String> = [
        "swarm", "topology", "coordinator", "max_agents", "max_attempts", "lease", "on_dependency_failure", "aging",
        "mirror", "op",
    ]
    private static let statuses = ["pending", "ready", "working", "parked", "completed", "failed", "cancelled"]
    private static let swarm = "/v1/swarms/:swarm"
    private static let task = "/v1/swarms/:swarm/tasks/:task"

    private static let endpoints = [
        Endpoint(path: "/v1/swarms", method: .post, call: .swarmInit, body: settings),
        Endpoint(path: swarm, method: .get, call: .swarmStatus),
        Endpoint(path: swarm, method: .delete, call: .swarmEnd),
        Endpoint(
            path: "\(swarm)/agents/:agent", method: .put, call: .swarmJoin,
            body: ["role", "parent", "position", "capabilities", "ttl", "presence"]),
        Endpoint(path: "\(swarm)/agents/:agent", method: .delete, call: .swarmLeave),
        Endpoint(path: "\(swarm)/tasks", method: .post, call: .taskSubmit, body: ["tasks", "op"], status: .created),
        Endpoint(
            path: "\(swarm)/next", method: .post, call: .taskNext, body: ["capabilities", "lease", "op"],
            query: ["wait"]),
        Endpoint(path: "\(task)/progress", method: .post, call: .taskProgress, body: ["fence", "value"]),
        Endpoint(path: "\(task)/complete", method: .post, call: .taskComplete, body: ["fence", "result"]),
        Endpoint(path: "\(task)/fail", method: .post, call: .taskFail, body: ["fence", "error", "retry"]),
        Endpoint(path: "\(task)/release", method: .post, call: .taskRelease, body: ["fence"]),
        Endpoint(path: "\(task)/park", method: .post, call: .taskPark, body: ["fence", "reason"]),
        Endpoint(path: "\(task)/resume", method: .post, call: .taskResume, body: ["op"]),
        Endpoint(path: "\(task)/retry", method: .post, call: .taskRetry, body: ["cascade", "op"]),
        Endpoint(path: "\(task)/cancel", method: .post, call: .taskCancel, body: ["cascade", "op"]),
        Endpoint(path: "\(task)/assign", method: .post, call: .taskAssign, body: ["agent_id", "op"]),
        Endpoint(path: "\(task)/revoke", method: .post, call: .taskRevoke, body: ["op"]),
        Endpoint(path: "\(task)/depend", method: .post, call: .taskDepend, body: ["on", "op"]),
        Endpoint(
            path: "\(swarm)/messages", method: .post, call: .messageSend,
            body: ["to", "board", "kind", "body", "reply_to", "op"], status: .created),
    ]

    static func add(to router: Router<HTTPContext>) {
        for route in endpoints {
            router.on(RouterPath(route.path), method: route.method) { request, context in
                await RESTRoutes.answer { () throws(Problem) in try await carryOut(route, request, context) }
            }
        }
        router.get("\(swarm)/tasks") { request, context in
            await RESTRoutes.answer { () throws(Problem) in try await list(request, context) }
        }
        router.get("\(swarm)/events") { request, context in
            await RESTRoutes.answer { () throws(Problem) in
                let query = try Query(request, known: ["since"])
                return try await EventRoutes.open(
                    [try pattern(try name("swarm", context), "**")], query, request, context)
            }
        }
        router.get("\(task)") { request, context in
            await RESTRoutes.answer { () throws(Problem) in try await show(request, context) }
        }
        router.get("\(swarm)/inbox/:agent") { request, context in
            await RESTRoutes.answer { () throws(Problem) in try await inbox(request, context) }
        }
        router.delete("\(swarm)/inbox/:agent/:stamp") { request, context in
            await RESTRoutes.answer { () throws(Problem) in try await acknowledge(request, context) }
        }
    }

    // MARK: Calls

    private static func carryOut(
        _ route: Endpoint, _ request: Request, _ context: HTTPContext
    ) async throws(Problem) -> Response {
        let query = try Query(request, known: route.query)
        var caller = try Caller(request.headers)
        var message = SyncMessage(route.call.rawValue)
        if route.path.contains(":swarm") { message.add("swarm", try name("swarm", context)) }
        if route.path.contains(":task") { message.add("task", try name("task", context)) }
        if route.path.contains(":agent") { try be(try name("agent", context), &caller) }
        var given: Set<String> = []
        if let fields = route.body {
            try await RESTRoutes.addBody(of: request, fields, mayBeEmpty: true, to: &message) { name, _ in
                given.insert(name)
            }
        }
        if route.call == .swarmJoin {
            // Who comes by HTTP has no connection to be present by, and says again and again that it is there.
            if !given.contains("ttl") { message.add("ttl", 60) }
            if !given.contains("presence") { message.add("presence", "http") }
        }
        guard route.call == .taskNext, let wait = try query.number("wait", 0...50), wait > 0 else {
            return answer(try await context.session.ask(message, as: caller), route)
        }
        message.add("wait", wait)
        return answer(try await waitForTask(message, caller, context), route)
    }

    /// Waits on a connection of its own, which ends with the request: what is handed out to a caller that has hung up goes back.
    private static func waitForTask(
        _ message: SyncMessage, _ caller: Caller, _ context: HTTPContext
    ) async throws(Problem) -> JSONObject {
        let connection = try await context.session.open(for: caller, isWait: true)
        defer { connection.close() }
        let answer = try await HTTPSession.wait(message, of: connection)
        guard Task.isCancelled || context.session.isInputClosed, let task = answer.object("task"),
            let fence = answer.integer("fence"),
            let swarm = task.string("swarm_id"), let name = task.string("task_id")
        else { return answer }
        var release = SyncMessage(Call.Name.taskRelease.rawValue)
        release.add("swarm", swarm)
        release.add("task", name)
        release.add("fence", fence)
        _ = try await HTTPSession.ask(release, of: connection)
        return answer
    }

    private static func answer(_ answer: JSONObject, _ route: Endpoint) -> Response {
        // That there is nothing to do is said without a body.
        if answer.string("type") == "none" { return Response(status: .noContent) }
        return RESTRoutes.json(answer, status: route.status)
    }

    // MARK: Reading

    private static func list(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["status", "limit", "after"])
        let swarm = try name("swarm", context)
        var question = SyncMessage("list")
        question.add("pattern", try pattern(swarm, "task:*"))
        question.add("after", try query.one("after"))
        question.add("limit", try query.number("limit", 1...UInt64(ClientMessage.List.maximumLimit)))
        let found = try await context.session.ask(question, as: try Caller(request.headers))
        let wanted = try query.one("status")
        if let wanted, !statuses.contains(wanted) {
            throw Problem(.badMessage, "status is \(wanted); it is one of \(statuses.joined(separator: ", "))")
        }
        let rows = (found.array("registers") ?? []).compactMap { try? JSONObject($0) }.filter { register in
            let isRow = register.string("key")?.split(separator: ":", omittingEmptySubsequences: false).count == 4
            return isRow && (wanted == nil || register.object("value")?.string("status") == wanted)
        }
        return collection("tasks", rows.compactMap { $0.raw("value") }, found)
    }

    private static func show(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        let caller = try Caller(request.headers)
        let (swarm, task) = (try name("swarm", context), try name("task", context))
        let key = "swarm:\(try escaped(swarm)):task:\(try escaped(task))"
        var members: [(String, [UInt8])] = []
        for (part, suffix) in [("task", ""), ("input", ":input"), ("progress", ":progress"), ("result", ":result")] {
            var question = SyncMessage("get")
            question.add("key", key + suffix)
            let answer: JSONObject
            do throws(Problem) {
                answer = try await context.session.ask(question, as: caller)
            } catch {
                // Who may read the row sees that, and of the rest what it may.
                if !suffix.isEmpty, error.code == ErrorCode.forbidden.rawValue { continue }
                throw error
            }
            guard let value = Found(answer).value else {
                if suffix.isEmpty { throw Problem(.absent, "there is no task \(task) in swarm \(swarm)") }
                continue
            }
            members.append((part, value))
        }
        return object(members)
    }

    private static func inbox(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        let query = try Query(request, known: ["limit", "after"])
        let agent = try escaped(try name("agent", context))
        var question = SyncMessage("list")
        question.add("pattern", try pattern(try name("swarm", context), "inbox:\(literal(agent)):*"))
        question.add("after", try query.one("after"))
        question.add("limit", try query.number("limit", 1...UInt64(ClientMessage.List.maximumLimit)))
        let found = try await context.session.ask(question, as: try Caller(request.headers))
        return collection("messages", found.array("registers") ?? [], found)
    }

    private static func acknowledge(_ request: Request, _ context: HTTPContext) async throws(Problem) -> Response {
        _ = try Query(request, known: [])
        var caller = try Caller(request.headers)
        let (swarm, agent) = (try name("swarm", context), try name("agent", context))
        try be(agent, &caller)
        let key = "swarm:\(try escaped(swarm)):inbox:\(try escaped(agent)):\(try name("stamp", context))"
        var message = SyncMessage(Call.Name.messageAcknowledge.rawValue)
        message.add("swarm", swarm)
        var keys = ByteBuffer(string: "[")
        keys.writeJSONString(key)
        keys.writeString("]")
        do throws(WireError) {
            try message.add("keys", json: keys)
        } catch {
            throw Problem(error)
        }
        return RESTRoutes.json(try await context.session.ask(message, as: caller))
    }

    // MARK: Names

    /// A name that stands in the path.
    private static func name(_ parameter: String, _ context: HTTPContext) throws(Problem) -> String {
        guard let text = context.parameters.get(parameter), let name = Percent.decode(text[...]) else {
            throw Problem(.badKey, "\(parameter) in the path is not percent-encoded text")
        }
        return name
    }

    /// The caller is the agent that the path names.
    private static func be(_ agent: String, _ caller: inout Caller) throws(Problem) {
        if let named = caller.agent, named != agent {
            throw Problem(.badMessage, "the path is about \(agent), and Starling-Agent says \(named)")
        }
        caller.agent = agent
    }

    private static func escaped(_ name: String) throws(Problem) -> String {
        do throws(TextError) {
            return String(decoding: try Segment(name).escaped, as: UTF8.self)
        } catch {
            throw Problem(.badKey, error.description)
        }
    }

    private static func literal(_ text: String) -> String {
        String(decoding: Pattern.escaping(Array(text.utf8)), as: UTF8.self)
    }

    private static func pattern(_ swarm: String, _ rest: String) throws(Problem) -> String {
        "swarm:\(literal(try escaped(swarm))):\(rest)"
    }

    // MARK: Answers

    private static func collection(_ name: String, _ elements: [[UInt8]], _ found: JSONObject) -> Response {
        let array = Array("[".utf8) + Array(elements.joined(separator: Array(",".utf8))) + Array("]".utf8)
        var members = [(name, array)]
        if let next = found.raw("next") { members.append(("next", next)) }
        return object(members)
    }

    private static func object(_ members: [(String, [UInt8])]) -> Response {
        var body = ByteBuffer()
        for (index, (name, value)) in members.enumerated() {
            body.writeString(index == 0 ? "{" : ",")
            body.writeJSONString(name)
            body.writeString(":")
            body.writeBytes(value)
        }
        body.writeString("}\n")
        return Response(
            status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
    }

    /// As protocol/openapi.json describes them.
    static var described: [Route] {
        var methods: [String: [HTTPRequest.Method]] = [:]
        var order: [String] = []
        let reading: [(String, HTTPRequest.Method)] = [
            ("\(swarm)/tasks", .get), (task, .get), ("\(swarm)/events", .get), ("\(swarm)/inbox/:agent", .get),
            ("\(swarm)/inbox/:agent/:stamp", .delete),
        ]
        for (path, method) in endpoints.map({ ($0.path, $0.method) }) + reading {
            let written = path.split(separator: "/").map { $0.hasPrefix(":") ? "{\($0.dropFirst())}" : String($0) }
            let name = "/" + written.joined(separator: "/")
            if methods[name] == nil { order.append(name) }
            methods[name, default: []].append(method)
        }
        return order.map { Route(path: $0, methods: methods[$0] ?? []) }
    }
}
