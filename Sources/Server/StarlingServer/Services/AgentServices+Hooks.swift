import Access
import Agents
import Loops
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import Synchronization

/// Hooks: what a harness of agents tells at the points of its work, and what it is told in return.
///
/// Whoever asks is answered soon, whatever is wrong here: what takes longer goes on, and what cannot be kept is counted.
extension AgentServices {
    /// Answers what a hook tells, within a time; and does about it what there is to be done, however long that takes.
    func hook(
        _ call: HookCall, _ request: ServiceRequest, on eventLoop: any EventLoop,
        answer: @escaping @Sendable (_ members: [UInt8]) -> Void
    ) async {
        let name = call.event.map { String(decoding: $0, as: UTF8.self) }
        guard let input = HookInput(call.input, name: name, keepsContent: call.keepsContent) else {
            return answer(refusal("no_event"))
        }
        if case .ignored = input.event { return answer(Self.members(HookAnswer())) }
        guard let session = input.session else { return answer(refusal("no_session")) }
        guard hooks.begin() else { return answer(refusal("overloaded")) }
        defer { hooks.end() }
        let agent = request.grant.agent ?? call.agent ?? request.agent
        let work = HookWork(
            services: self, input: input, session: session, agent: agent, swarm: call.swarm, request: request,
            eventLoop: eventLoop)
        let once = Once()
        deadlines.add { if once.isFirst() { answer(Self.members(HookAnswer(degraded: "late"))) } }
        let result = await work.carryOut()
        guard once.isFirst() else { return }
        answer(Self.members(result))
        // What nobody is told any more is told the next time.
        if result.degraded == nil { hooks.tell(result.news, in: work.name) }
    }

    /// Who is first of two.
    private final class Once: Sendable {
        private let isOver = Atomic<Bool>(false)

        func isFirst() -> Bool { !isOver.exchange(true, ordering: .relaxed) }
    }

    private func refusal(_ reason: String) -> [UInt8] {
        hooks.drop(because: reason)
        return Self.members(HookAnswer(degraded: reason))
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
