import Access
import Agents
import Loops
import NIOCore
import Registers
import SyncEngine
import SyncProtocol

/// Hooks: what a harness of agents tells at the points of its work, and what it is told in return.
///
/// Whoever asks is answered soon, whatever is wrong here: what takes longer goes on, and what cannot be kept is counted.
extension AgentServices {
    /// How long a hook may take to answer.
    private static let patience = Duration.milliseconds(200)

    func hook(_ call: HookCall, _ request: ServiceRequest, on eventLoop: any EventLoop) async -> [UInt8] {
        let name = call.event.map { String(decoding: $0, as: UTF8.self) }
        guard let input = HookInput(call.input, name: name, keepsContent: call.keepsContent) else {
            hooks.drop(because: "no_event")
            return Self.members(HookAnswer(degraded: "no_event"))
        }
        if case .ignored = input.event { return Self.members(HookAnswer()) }
        guard let session = input.session else {
            hooks.drop(because: "no_session")
            return Self.members(HookAnswer(degraded: "no_session"))
        }
        guard hooks.begin() else {
            hooks.drop(because: "overloaded")
            return Self.members(HookAnswer(degraded: "overloaded"))
        }
        let agent = request.grant.agent ?? call.agent ?? request.agent
        let work = HookWork(
            services: self, input: input, session: session, agent: agent, swarm: call.swarm, request: request,
            eventLoop: eventLoop)
        let result = FirstResult<HookAnswer>()
        Task { [hooks] in
            let answer = await work.carryOut()
            // What nobody is told any more is told the next time.
            if result.give(answer), answer.degraded == nil { hooks.tell(answer.news, in: work.name) }
            hooks.end()
        }
        return Self.members(await result.value(within: Self.patience) ?? HookAnswer(degraded: "late"))
    }

    private static func members(_ answer: HookAnswer) -> [UInt8] {
        var object = JSONWriter(continues: true)
        object.add("output", raw: answer.degraded == nil ? answer.output : Array("{}".utf8))
        if let reason = answer.degraded { object.add("degraded", reason) }
        if let key = answer.key { object.add("key", key.bytes) }
        return object.finish()
    }
}

/// What a hook is answered.
struct HookAnswer: Sendable {
    var output = Array("{}".utf8)
    /// Why it is not what it should be, and what was told may not be kept; nil: all is well.
    var degraded: String?
    /// The key that could not be written.
    var key: Key?
    /// What it tells that was not told before.
    var news = HookState.News()
}
