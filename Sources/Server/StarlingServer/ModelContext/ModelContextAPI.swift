import Access
import Agents
import HTTPTypes
import Hummingbird
import ModelContext
import NIOCore
import Registers
import SyncProtocol

/// `/mcp`: the Model Context Protocol over HTTP (its *Streamable HTTP*), by the versions that have sessions and by those that have none, which each message
/// says itself.
struct ModelContextAPI: API {
    private static let path = "/mcp"

    let services: ModelContextServices
    let resource: ProtectedResource
    private let machines: [Machine.ToolSet: Machine]

    let routes: [Route] =
        [Route(path: path, methods: [.post, .get, .delete], maximumBody: Machine.maximumMessage)]
        + ProtectedResource.paths.map { Route(path: $0, methods: [.get]) }

    init(services: ModelContextServices, resource: ProtectedResource) {
        self.services = services
        self.resource = resource
        machines = Dictionary(
            uniqueKeysWithValues: Machine.ToolSet.allCases.map { set in
                (set, Machine(set, version: ServerConfiguration.version))
            })
    }

    var metrics: [any MetricsSource] { [services.sessions] }

    func add(to router: Router<HTTPContext>) {
        router.post(RouterPath(Self.path)) { request, context in
            await answer(request) { () throws(MCPFailure) in try await post(request, context) }
        }
        router.get(RouterPath(Self.path)) { request, context in
            await answer(request) { () throws(MCPFailure) in try await listen(request, context) }
        }
        router.delete(RouterPath(Self.path)) { request, context in
            await answer(request) { () throws(MCPFailure) in
                let entry = try await Entry(request, context)
                guard let session = try session(request, entry, nil) else { throw Self.noSession(nil) }
                services.sessions.release(session)
                await services.sessions.end(session)
                return Response(status: .noContent)
            }
        }
        for path in ProtectedResource.paths {
            router.get(RouterPath(path)) { [resource] request, _ in resource.response(request) }
        }
    }

    private func answer(
        _ request: Request, _ work: () async throws(MCPFailure) -> Response
    ) async -> Response {
        do throws(MCPFailure) {
            return try await work()
        } catch {
            switch error {
            case .problem(let problem):
                var response = problem.response
                if problem.status == .unauthorized {
                    response.headers[.wwwAuthenticate] = resource.challenge(request)
                }
                return response
            case .error(let error, let id, let status):
                return MCPResponse.json(error.message(to: id), status: status)
            }
        }
    }

    // MARK: Who asks

    /// What is known of a request before its body is looked at.
    private struct Entry {
        var tools: Machine.ToolSet
        var caller: Caller
        var grant: Grant

        init(_ request: Request, _ context: HTTPContext) async throws(MCPFailure) {
            do throws(Problem) {
                tools = try Self.tools(request)
                caller = try Caller(request.headers)
                let size = request.headers[.contentLength].flatMap { Int($0) } ?? 0
                grant = try await context.session.admit(size, as: caller)
            } catch {
                throw .problem(error)
            }
            guard let name = Self.name(grant, caller) else {
                throw .problem(Problem(.badMessage, "Starling-Agent is no name of an agent: 1 to 128 bytes of text"))
            }
            caller.agent = name
        }

        /// - Returns: nil where the name is none.
        private static func name(_ grant: Grant, _ caller: Caller) -> String?? {
            if let agent = grant.agent { return "\(agent)" }
            guard let header = caller.agent else { return .some(nil) }
            guard let name = HeaderText.decode(header), (try? Agent(name)) != nil else { return nil }
            return name
        }

        private static func tools(_ request: Request) throws(Problem) -> Machine.ToolSet {
            let query = try Query(request)
            for secret in ["access_token", "token", "key", "api_key"] where !query.all(secret).isEmpty {
                throw Problem(
                    .badMessage,
                    "\(secret) in the query would stand in logs: Authorization: Bearer <token> says who asks")
            }
            try query.allow(["tools"])
            guard let name = try query.one("tools") else { return .starling }
            guard let tools = Machine.ToolSet(rawValue: name) else {
                let names = Machine.ToolSet.allCases.map(\.rawValue).joined(separator: " or ")
                throw Problem(.badMessage, "tools is \(name); it is \(names)")
            }
            return tools
        }
    }

    private static func noSession(_ id: RPCID?) -> MCPFailure {
        .error(
            RPCError(
                .invalidRequest,
                "this is no part of an MCP session: begin with initialize, or have params._meta say io.modelcontextprotocol/protocolVersion"
            ), id, status: 400)
    }

    /// The MCP session that a request belongs to, which is to be released; nil: it says none.
    private func session(_ request: Request, _ entry: Entry, _ id: RPCID?) throws(MCPFailure) -> MCPSession? {
        let values = request.headers[values: .mcpSession]
        guard let name = values.first else { return nil }
        guard values.count == 1, let session = services.sessions.take(name, of: entry.grant) else {
            throw .error(
                RPCError(.invalidRequest, "there is no such MCP session; begin with initialize"), id, status: 404)
        }
        if let version = request.headers[.mcpVersion], ProtocolVersion(rawValue: version)?.isModern != false {
            services.sessions.release(session)
            throw .error(
                RPCError(.invalidRequest, "MCP-Protocol-Version \(version.prefix(40)) is none of an MCP session"), id,
                status: 400)
        }
        return session
    }

    // MARK: POST

    private func post(_ request: Request, _ context: HTTPContext) async throws(MCPFailure) -> Response {
        let accept: MCPAccept
        do throws(Problem) {
            try Self.checkContentType(request)
            accept = try MCPAccept(request)
        } catch {
            throw .problem(error)
        }
        let entry = try await Entry(request, context)
        let body = Array(await RESTRoutes.body(of: request).readableBytesView)
        let message: RPCMessage
        do throws(RPCMessage.Problem) {
            message = try RPCMessage(body)
        } catch {
            throw .error(error.error, error.id, status: 400)
        }
        switch message {
        case .request(let message):
            return try await carryOut(
                message, Arrival(request: request, context: context, entry: entry, accept: accept))
        case .notification(let method, let parameters):
            guard let session = try session(request, entry, nil) else { return Response(status: .accepted) }
            defer { services.sessions.release(session) }
            if method == "notifications/cancelled", let id = parameters.raw("requestId").flatMap({ RPCID(json: $0) }) {
                await session.cancel(id)
            }
            return Response(status: .accepted)
        case .response: return Response(status: .accepted)
        }
    }

    private static func checkContentType(_ request: Request) throws(Problem) {
        let type = (request.headers[.contentType] ?? "").prefix { $0 != ";" }.filter { !$0.isWhitespace }.lowercased()
        guard type == "application/json" else {
            throw Problem(
                .unsupportedMediaType, "not_json", "a message is application/json, and Content-Type says something else"
            )
        }
    }

    /// A request with all that came along.
    private struct Arrival {
        let request: Request
        let context: HTTPContext
        let entry: Entry
        let accept: MCPAccept

        var headers: RoutingHeaders {
            RoutingHeaders(
                version: request.headers[values: .mcpVersion], method: request.headers[values: .mcpMethod],
                name: request.headers[values: .mcpName])
        }

        /// Whether it is by a version without sessions, by what it says itself or by its header.
        func isModern(_ message: RPCRequest) -> Bool {
            ModernEnvelope.isIn(message)
                || headers.version.contains { ProtocolVersion(rawValue: $0)?.isModern == true }
        }
    }

    private func carryOut(_ message: RPCRequest, _ arrival: Arrival) async throws(MCPFailure) -> Response {
        let entry = arrival.entry
        if arrival.isModern(message) {
            let envelope: ModernEnvelope
            do throws(RPCError) {
                envelope = try ModernEnvelope(message, arrival.headers)
            } catch {
                throw .error(error, message.id, status: error.status)
            }
            let requester = Requester(agent: entry.caller.agent, client: envelope.client)
            return try await carryOut(message, .modern(envelope), requester, nil, arrival)
        }
        if message.method == "initialize" { return try begin(message, entry) }
        guard let session = try session(arrival.request, entry, message.id) else { throw Self.noSession(message.id) }
        defer { services.sessions.release(session) }
        return try await carryOut(message, .legacy(session.version), session.requester, session, arrival)
    }

    private func begin(_ message: RPCRequest, _ entry: Entry) throws(MCPFailure) -> Response {
        do throws(RPCError) {
            let beginning = try Machine.beginning(message)
            let session = try services.sessions.begin(
                beginning, name: entry.caller.agent, tools: entry.tools, entry.grant)
            let result = machine(entry.tools).initialized(beginning, session.requester)
            var response = MCPResponse.json(Machine.message(result, to: message.id))
            response.headers[.mcpSession] = session.id
            return response
        } catch {
            throw .error(error, message.id, status: 200)
        }
    }

    private func machine(_ tools: Machine.ToolSet) -> Machine {
        guard let machine = machines[tools] else { preconditionFailure("each set of tools has a machine") }
        return machine
    }

    private func carryOut(
        _ message: RPCRequest, _ era: Machine.Era, _ requester: Requester, _ session: MCPSession?, _ arrival: Arrival
    ) async throws(MCPFailure) -> Response {
        let machine = machine(session?.tools ?? arrival.entry.tools)
        let http = arrival.context.session
        var caller = arrival.entry.caller
        caller.agent = requester.agent
        func failed(_ error: RPCError) -> MCPFailure {
            .error(error, message.id, status: MCPFailure.status(of: error, era))
        }
        let work: Machine.Work
        do throws(RPCError) {
            work = try machine.work(for: message, era, requester)
        } catch {
            throw failed(error)
        }
        switch (work, session) {
        case (.result(let result), _): return MCPResponse.json(Machine.message(result, to: message.id))
        case (.plan(let plan, let shape), _):
            let runner = PlanRunner(
                caller: caller, grant: arrival.entry.grant, http: http, session: session, services: services)
            return await MCPCall(
                request: message, plan: plan, shape: shape, era: era, requester: requester, machine: machine,
                runner: runner, accept: arrival.accept
            ).response()
        case (.listen(let uris, let tellsOfList, let hasURIs), _):
            do throws(Problem) {
                guard arrival.accept.stream else {
                    throw Problem(.notAcceptable, "not_acceptable", "a subscription is answered with text/event-stream")
                }
                let listen = MCPListen(id: message.id, uris: uris, tellsOfList: tellsOfList, hasURIs: hasURIs)
                return try await listen.response(http, caller)
            } catch {
                throw .problem(error)
            }
        case (.subscribe(let uri), let session?):
            do throws(ToolFailure) {
                try await session.subscribe(uri, caller, on: http.eventLoop)
            } catch {
                throw failed(RPCError(error))
            }
        case (.unsubscribe(let uri), let session?): await session.unsubscribe(uri)
        case (.subscribe, nil), (.unsubscribe, nil): preconditionFailure("those are for MCP sessions")
        }
        return MCPResponse.json(Machine.message(Machine.nothing, to: message.id))
    }

    // MARK: GET

    private static let heartbeat = TimeAmount.seconds(15)

    /// The stream of an MCP session's notifications.
    private func listen(_ request: Request, _ context: HTTPContext) async throws(MCPFailure) -> Response {
        do throws(Problem) {
            guard try MCPAccept(request).stream else {
                throw Problem(.notAcceptable, "not_acceptable", "a stream is text/event-stream, and Accept has it not")
            }
        } catch {
            throw .problem(error)
        }
        let entry = try await Entry(request, context)
        if request.method == .head { return Response(status: .ok, headers: MCPResponse.streamHeaders) }
        if request.headers[.mcpVersion].flatMap(ProtocolVersion.init(rawValue:))?.isModern == true {
            var problem = Problem(
                .methodNotAllowed, "no_method", "subscriptions/listen is what there is in place of a stream")
            problem.hint = "POST it"
            throw .problem(problem)
        }
        guard let session = try session(request, entry, nil) else { throw Self.noSession(nil) }
        let eventLoop = context.session.eventLoop
        var caller = entry.caller
        caller.agent = session.agent
        let stream: UInt64
        let missed: [MCPSession.Event]
        do throws(Problem) {
            (stream, missed) = try await session.openStream(
                after: request.headers[.lastEventID].map { UInt64($0) ?? .max }, caller, on: eventLoop)
        } catch {
            services.sessions.release(session)
            throw .problem(error)
        }
        return Response(
            status: .ok, headers: MCPResponse.streamHeaders,
            body: ResponseBody { [services] writer in
                defer { services.sessions.release(session) }
                var events = missed
                // That it is there, before there is anything to say.
                try await writer.write(MCPResponse.comment)
                while true {
                    var bytes = ByteBuffer()
                    for event in events { bytes.writeImmutableBuffer(MCPResponse.event(event.message, id: event.id)) }
                    if bytes.readableBytes > 0 { try await writer.write(bytes) }
                    guard
                        let next = await session.notifications(of: stream, within: Self.heartbeat, on: eventLoop)
                    else { break }
                    try Task.checkCancellation()
                    if next.isEmpty { try await writer.write(MCPResponse.comment) }
                    events = next
                }
                try await writer.finish(nil)
            })
    }
}
