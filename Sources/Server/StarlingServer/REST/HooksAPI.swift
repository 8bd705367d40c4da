import Agents
import Dispatch
import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import Registers
import SyncProtocol
import Synchronization

/// `POST /hooks`: for harnesses that tell of what happens by HTTP. Each request is a `hook` of the protocol.
///
/// The answer is 200 and an object of JSON, soon, whatever is wrong: a harness waits for its hooks, and shows its user what they fail with.
struct HooksAPI: API {

    let state: HookState
    let routes: [Route]
    private let waiting = Waiting()
    /// When a large one is answered at the latest: the service itself takes less.
    private let deadlines = Deadlines(milliseconds: 220)

    private final class Waiting: Sendable {
        let count = Atomic<Int>(0)
    }

    init(state: HookState) {
        self.state = state
        let fallback = Route.Fallback(body: "{}\n", header: "starling-degraded") { state.drop(because: $0) }
        routes = ["/hooks", "/hooks/{event}"].map { path in
            Route(path: path, methods: [.post], maximumBody: HookInput.maximumSize, fallback: fallback)
        }
    }

    var metrics: [any MetricsSource] { [state] }

    func add(to router: Router<HTTPContext>) {
        router.post("/hooks") { [self] request, context in await answer(request, context, event: nil) }
        router.post("/hooks/:event") { [self] request, context in
            await answer(request, context, event: context.parameters.get("event"))
        }
    }

    private func answer(_ request: Request, _ context: HTTPContext, event: String?) async -> Response {
        let body = Array(await RESTRoutes.body(of: request).readableBytesView)
        // It goes on when nobody waits for the answer any more, and when there is no time left: what is told is kept all the same.
        let work = Task { await carryOut(request, body, context.session, event) }
        guard body.count > Self.smallBody else { return Self.response(await work.value) }
        // To read a large one may take a while.
        let result = FirstResult<Result<JSONObject, Problem>>()
        deadlines.add { result.give(nil) }
        Task { result.give(await work.value) }
        return Self.response(await result.value)
    }

    private static func response(_ result: Result<JSONObject, Problem>?) -> Response {
        switch result {
        case .success(let answer):
            let key = answer.string("key").map { "; key=\(Percent.encodeForHeader($0))" } ?? ""
            return response(
                answer.raw("output") ?? Array("{}".utf8), degraded: answer.string("degraded").map { $0 + key })
        case .failure(let problem): return response(Array("{}".utf8), degraded: problem.code)
        case nil: return response(Array("{}".utf8), degraded: "late")
        }
    }

    private func carryOut(
        _ request: Request, _ body: [UInt8], _ session: HTTPSession, _ event: String?
    ) async -> Result<JSONObject, Problem> {
        do throws(Problem) {
            return .success(try await ask(request, body, session, event))
        } catch {
            // Where the answer is lost what was told may be kept.
            if error.code != ErrorCode.outcomeUnknown.rawValue { state.drop(because: error.code) }
            return .failure(error)
        }
    }

    private func ask(
        _ request: Request, _ body: [UInt8], _ session: HTTPSession, _ event: String?
    ) async throws(Problem) -> JSONObject {
        // The caller is whom the credentials are for: which agent it is stands in the question.
        var caller = try Caller(request.headers)
        caller.agent = nil
        caller.session = nil
        // Nobody has anything taken apart who may not have anything done.
        try await session.admit(body.count, as: caller)
        return try await session.ask(try await question(request, body, event), as: caller)
    }

    /// Takes bodies apart one after the other, in nobody's way: a large one takes a while.
    private static let parsing = DispatchQueue(label: "hooks", qos: .utility)
    /// Above this size a body is taken apart there, in bytes.
    private static let smallBody = 64 << 10
    /// How many bodies may wait for that.
    private static let maximumWaiting = 32

    private func question(
        _ request: Request, _ body: [UInt8], _ event: String?
    ) async throws(Problem) -> SyncMessage {
        let query = try Query(request, known: ["swarm", "content"])
        let content = try query.one("content") ?? "all"
        guard ["all", "none"].contains(content) else {
            throw Problem(.badMessage, "content is \(content); it is all or none")
        }
        let make = { @Sendable in HookInput(body, name: event, keepsContent: content == "all")?.json }
        var input: [UInt8]?
        if body.count <= Self.smallBody {
            input = make()
        } else {
            guard waiting.count.add(1, ordering: .relaxed).newValue <= Self.maximumWaiting else {
                waiting.count.subtract(1, ordering: .relaxed)
                throw Problem(.overloaded, "too many large bodies wait to be read")
            }
            input = await withCheckedContinuation { continuation in
                Self.parsing.async { continuation.resume(returning: make()) }
            }
            waiting.count.subtract(1, ordering: .relaxed)
        }
        guard let input else {
            guard HookInput(body, name: "any") == nil else {
                throw Problem(.badRequest, "no_event", "neither the path nor the body names an event")
            }
            throw Problem(.badJSON, "the body is no object of JSON")
        }
        var question = SyncMessage(ServiceCall.Name.hook.rawValue)
        do throws(WireError) {
            try question.add("input", json: ByteBuffer(bytes: input))
        } catch {
            throw Problem(error)
        }
        question.add("agent", request.headers[.starlingAgent] ?? Self.nobody)
        question.add("swarm", try query.one("swarm"))
        return question
    }

    /// The agent of who gives no name.
    private static let nobody = "anonymous"

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
