import Agents
import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import Registers
import SyncProtocol

/// `POST /hooks`: for harnesses that tell of what happens by HTTP. Each request is a `hook` of the protocol.
///
/// The answer is 200 and an object of JSON, soon, whatever is wrong: a harness waits for its hooks, and shows its user what they fail with.
struct HooksAPI: API {
    /// How long an answer may take. The service itself takes less, where it gets to it.
    private static let patience = Duration.milliseconds(240)

    let state: HookState

    let routes = ["/hooks", "/hooks/{event}"].map { path in
        Route(
            path: path, methods: [.post], maximumBody: HookInput.maximumSize,
            fallback: Route.Fallback(body: "{}\n", headers: [("starling-degraded", "too_large")]))
    }

    var metrics: [any MetricsSource] { [state] }

    func add(to router: Router<HTTPContext>) {
        router.post("/hooks") { [self] request, context in await answer(request, context, event: nil) }
        router.post("/hooks/:event") { [self] request, context in
            await answer(request, context, event: context.parameters.get("event"))
        }
    }

    private func answer(_ request: Request, _ context: HTTPContext, event: String?) async -> Response {
        do throws(Problem) {
            let question = try await question(request, event)
            // The caller is whom the credentials are for: which agent it is stands in the question.
            var caller = try Caller(request.headers)
            caller.agent = nil
            caller.session = nil
            guard let answer = try await ask(question, as: caller, context.session) else {
                return Self.response(Array("{}".utf8), degraded: "late")
            }
            return Self.response(answer.raw("output") ?? Array("{}".utf8), degraded: answer.string("degraded"))
        } catch {
            state.drop(because: error.code)
            return Self.response(Array("{}".utf8), degraded: error.code)
        }
    }

    private func question(_ request: Request, _ event: String?) async throws(Problem) -> SyncMessage {
        let query = try Query(request, known: ["swarm", "content"])
        let content = try query.one("content") ?? "all"
        guard ["all", "none"].contains(content) else {
            throw Problem(.badMessage, "content is \(content); it is all or none")
        }
        let body = Array(await RESTRoutes.body(of: request).readableBytesView)
        // Made small here: what stays of it fits into a message.
        guard let input = HookInput(body, name: event, keepsContent: content == "all") else {
            throw Problem(.badJSON, "the body is no object of JSON that names an event")
        }
        var question = SyncMessage(ServiceCall.Name.hook.rawValue)
        do throws(WireError) {
            try question.add("input", json: ByteBuffer(bytes: input.json))
        } catch {
            throw Problem(error)
        }
        question.add("agent", request.headers[.starlingAgent] ?? Self.nobody)
        question.add("swarm", try query.one("swarm"))
        return question
    }

    /// The agent of who gives no name.
    private static let nobody = "anonymous"

    /// - Returns: nil: there is no answer yet.
    private func ask(
        _ question: SyncMessage, as caller: Caller, _ session: HTTPSession
    ) async throws(Problem) -> JSONObject? {
        let result = FirstResult<Result<JSONObject, Problem>>()
        Task { [state] in
            let answer: Result<JSONObject, Problem>
            do throws(Problem) {
                answer = .success(try await session.ask(question, as: caller))
            } catch {
                answer = .failure(error)
            }
            let isInTime = result.give(answer)
            if !isInTime, case .failure(let problem) = answer { state.drop(because: problem.code) }
        }
        return try await result.value(within: Self.patience)?.get()
    }

    private static func response(_ output: [UInt8], degraded: String?) -> Response {
        var headers: HTTPFields = [.contentType: "application/json"]
        headers[.starlingDegraded] = degraded
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: output + [UInt8(ascii: "\n")])))
    }
}

extension HTTPField.Name {
    static let starlingDegraded = HTTPField.Name("Starling-Degraded")!
}
