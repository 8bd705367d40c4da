import Access
import Registers
import SyncEngine
import SyncProtocol

/// Calls that are sent again: what was answered to one with an `op` is kept, in the transaction that it is about.
extension SwarmRules {
    private func operation(_ call: Call, _ request: WriteRequest) -> OperationID? {
        guard var op = call.op else { return nil }
        // A task is one agent's, also where several share credentials. No op has a zero byte.
        if case .next = call.action { op += [0] + request.agent.bytes }
        return OperationID(op: op, bearer: request.grant?.bearer ?? [])
    }

    static let otherRequest = WireError(
        .badMessage, "this op is that of another request; nothing of this one was done",
        hint: "make up an op for each request, and send it again only with the same text")

    /// What the same call was answered before, as long as that is remembered.
    func known(
        _ call: Call, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> WriteOutcome? {
        guard let operation = operation(call, request), let text = try commit.keptAnswer(to: operation) else {
            return nil
        }
        guard let kept = KeptAnswer.call(text), kept.fingerprint == call.fingerprint else {
            throw Self.otherRequest
        }
        switch call.action {
        case .next: return try handedOut(kept.answer, request, &commit).map { .called($0) }
        // Presence ends with its connection: who comes back joins again.
        case .join(let membership) where membership.timeToLive == nil: return nil
        default: return .called(kept.answer)
        }
    }

    /// An answer about a task that waits again, as the commit leaves that: it may be ready, or with the next agent.
    func settled(
        _ answer: CallAnswer, _ call: Call, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let task: Segment
        switch call.action {
        case .fail(let fenced, _, true), .release(let fenced): task = fenced.task
        case .resume(let name), .retry(let name, _), .assign(let name, _), .revoke(let name), .depend(let name, _):
            task = name
        default: return answer
        }
        var settled = self.answer(try self.task(task, Caller(call, request), &commit).row, to: request)
        settled.released = answer.released
        return settled
    }

    /// What was handed out before, as long as its claim is in force: then the call is a new one.
    private func handedOut(
        _ kept: CallAnswer, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> CallAnswer? {
        guard let claim = kept.handedOut, case .claim(let swarm, let task)? = SwarmKey(claim.key),
            let stored = try commit.current(of: claim.key), stored.isHeld(at: commit.now), stored.fence == claim.fence,
            let row = row(try commit.current(of: SwarmKey.task(swarm, task).key()), swarm, task),
            row.agent == Segment(request.agent)
        else { return nil }
        return try answer(row, handingOut: claim, until: stored.register.expiresAt ?? 0, to: request, &commit)
    }

    func keep(
        _ answer: CallAnswer, of call: Call, _ request: WriteRequest, _ commit: inout some CallContext
    ) {
        guard let operation = operation(call, request), answer.kind != .none, call.name != .swarmStatus else { return }
        var answer = answer
        // What was handed out is read again: its input may be great.
        if answer.handedOut != nil { answer.members = [] }
        commit.keep(
            KeptAnswer(operation, answeredAt: commit.now, text: KeptAnswer.text(answer, call.fingerprint)))
    }
}
