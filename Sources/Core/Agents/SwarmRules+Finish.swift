import Access
import Registers
import SyncEngine
import SyncProtocol

/// What the agent that has a task does with it, under the fence that it was given; and what becomes of it when the agent is gone.
extension SwarmRules {
    /// How long a task rests that was lost, after its first attempt, and at most, in milliseconds.
    private static let firstRest: UInt64 = 1_000
    private static let greatestRest: UInt64 = 5 * 60_000

    func complete(
        _ fenced: FencedTask, _ result: [UInt8]?, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let found = try held(fenced, caller, .completed, &commit)
        guard let slot = found.slot else { return answer(found.row, to: caller.request) }
        try putResult(result, fenced.task, caller, &commit)
        let released = try endClaim(of: slot, caller.request, &commit)
        var step = Step("completed", caller.request)
        step.data = agentData(caller.agent)
        return answer(try move(slot, to: .completed, step, &commit), to: caller.request, releasing: released)
    }

    func fail(
        _ fenced: FencedTask, _ error: [UInt8]?, _ retries: Bool, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let found = try held(fenced, caller, .failed, &commit)
        guard let slot = found.slot else { return answer(found.row, to: caller.request) }
        try putResult(error, fenced.task, caller, &commit)
        let released = try endClaim(of: slot, caller.request, &commit)
        let row =
            retries
            ? try putBack(slot, isCounted: true, reason: "its agent failed", event: "failed", caller.request, &commit)
            : try move(slot, to: .failed, Step("failed", caller.request), &commit) { $0.reason = "its agent failed" }
        return answer(row, to: caller.request, releasing: released)
    }

    func release(
        _ fenced: FencedTask, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        guard let slot = try held(fenced, caller, nil, &commit).slot else { throw stale(fenced) }
        let released = try endClaim(of: slot, caller.request, &commit)
        let row = try putBack(slot, isCounted: false, reason: nil, caller.request, &commit)
        return answer(row, to: caller.request, releasing: released)
    }

    func park(
        _ fenced: FencedTask, _ reason: String?, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        guard let slot = try held(fenced, caller, nil, &commit).slot else { throw stale(fenced) }
        let released = try endClaim(of: slot, caller.request, &commit)
        let row = try move(slot, to: .parked, Step("parked", caller.request), &commit) { row in
            row.attempt -= 1
            row.reason = reason
        }
        return answer(row, to: caller.request, releasing: released)
    }

    func progress(
        _ fenced: FencedTask, _ value: [UInt8]?, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let found = try held(fenced, caller, nil, &commit)
        guard let slot = found.slot else { throw stale(fenced) }
        if let value {
            let key = try SwarmKey.progress(caller.swarm, task: fenced.task).key()
            try checkIsFree(key, &commit)
            try checkRoom(for: key, caller, &commit)
            try put(key, value, life: Self.progressLife, caller.request, &commit)
        }
        let expiresAt = try renew(slot, caller.request, &commit)
        return answer(found.row, to: caller.request) { $0.add("expires_at", number: expiresAt.milliseconds) }
    }

    // MARK: Fences

    private func stale(_ fenced: FencedTask) -> WireError {
        WireError(
            .staleFence,
            "fence \(fenced.fence) of task \(fenced.task) is not in force: the task was lost, taken away, given back or ended",
            hint: "what is done under it now counts for nothing")
    }

    /// The task that a fence is of.
    ///
    /// - Parameter end: the status that it may have got under this very fence: then it is answered as the first time.
    /// - Returns: the slot is nil where the task has ended so already.
    private func held(
        _ fenced: FencedTask, _ caller: Caller, _ end: TaskStatus?, _ commit: inout some CallContext
    ) throws -> (row: TaskRow, slot: TaskSlot?) {
        let (key, row) = try task(fenced.task, caller, &commit)
        guard row.fence == fenced.fence else { throw stale(fenced) }
        // Whoever may read the row has its fence: where credentials say who somebody is, the task is that one's.
        if let agent = caller.request.grant?.agent, row.agent != Segment(agent), !mayAdministrate(caller) {
            throw WireError(
                .forbidden, "task \(fenced.task) was handed to \(row.agent.map { "\($0)" } ?? "somebody else")")
        }
        if let end, row.status == end { return (row, nil) }
        let claim = try SwarmKey.claim(caller.swarm, task: fenced.task).key()
        guard let slot = graph.find(key), graph[slot].status == .working,
            let stored = try commit.current(of: claim), stored.isHeld(at: commit.now), stored.fence == fenced.fence
        else { throw stale(fenced) }
        return (row, slot)
    }

    private func renew(
        _ slot: TaskSlot, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> WallTime {
        let node = graph[slot]
        let claim = try SwarmKey.claim(graph.name(of: node.swarm), task: node.task).key()
        let stored = try commit.current(of: claim)
        guard stored?.binding == .claim else { return stored?.register.expiresAt ?? 0 }
        let row = row(try commit.current(of: node.key), graph.name(of: node.swarm), node.task)
        let lease = ClientMessage.Lease(
            .renew, key: claim, fence: node.fence, timeToLive: row?.lease ?? graph.settings(of: node.swarm).lease)
        guard case .claimed(let grant) = try commit.lease(lease, for: request) else {
            return stored?.register.expiresAt ?? 0
        }
        return grant.expiresAt
    }

    /// Ends the claim of a task that an agent has.
    ///
    /// - Returns: the claim.
    @discardableResult
    func endClaim(
        of slot: TaskSlot, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> ClientMessage.FencedKey {
        let node = graph[slot]
        let claim = try SwarmKey.claim(graph.name(of: node.swarm), task: node.task).key()
        _ = try commit.lease(ClientMessage.Lease(.release, key: claim, fence: node.fence), for: request)
        return ClientMessage.FencedKey(key: claim, fence: node.fence)
    }

    private func putResult(
        _ result: [UInt8]?, _ task: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws {
        guard let result else { return }
        let key = try SwarmKey.result(caller.swarm, task: task).key()
        try checkIsFree(key, &commit)
        try checkRoom(for: key, caller, &commit)
        try put(key, result, life: limits.retention, caller.request, &commit)
    }

    /// Refuses a key more than the caller's credentials have room for.
    func checkRoom(for key: Key, _ caller: Caller, _ commit: inout some CallContext) throws {
        guard let room = try commit.room(of: caller.request), room < 1,
            try commit.current(of: key)?.register.isTombstone != false
        else { return }
        throw WireError(.tooManyKeys, "these credentials have room for no more keys")
    }

    private func answer(
        _ row: TaskRow, to request: WriteRequest, releasing released: ClientMessage.FencedKey
    ) -> CallAnswer {
        var answer = answer(row, to: request)
        answer.released = [released]
        return answer
    }

    // MARK: Tasks without an agent

    /// A task whose agent is gone, or gives it up, waits again; or has failed, where that has happened too often.
    @discardableResult
    func putBack(
        _ slot: TaskSlot, isCounted: Bool, reason: String?, event: String? = nil, _ request: WriteRequest,
        _ commit: inout some CallContext
    ) throws -> TaskRow {
        let node = graph[slot]
        let attempts = node.maximumAttempts
        if isCounted, attempts > 0, node.attempt >= attempts {
            return try move(slot, to: .failed, Step("failed", request), &commit) { row in
                row.reason = "\(attempts) \(attempts == 1 ? "attempt" : "attempts"): \(reason ?? "given up")"
            }
        }
        let step = Step(event ?? (isCounted ? "lost" : "released"), request)
        let now = commit.now
        return try move(slot, to: .pending, step, &commit) { row in
            row.agent = row.assignee
            row.reason = reason
            if isCounted {
                row.notBefore = now + Self.rest(after: row.attempt)
            } else {
                row.attempt = max(0, row.attempt - 1)
            }
        }
    }

    private static func rest(after attempt: Int) -> UInt64 {
        min(greatestRest, firstRest << UInt64(min(attempt, 20)))
    }

    /// A pending task that waits for nothing is ready; one that waits for what has failed is over, if it says so.
    func advance(_ slot: TaskSlot, _ commit: inout some CallContext) throws {
        let node = graph[slot]
        if node.fatal > 0 {
            let failed = node.dependencies.first { graph[$0].status.cancels(node.policy) }
            let name = failed.map { "\(graph[$0].task)" } ?? "a dependency"
            try move(slot, to: .cancelled, Step("cancelled", Self.own), &commit) { row in
                row.reason = "it depends on \(name), which was not done"
                row.cancelledBy = failed.map { graph[$0].task }
            }
        } else {
            try move(slot, to: .ready, Step(nil, Self.own), &commit) { row in
                row.notBefore = nil
            }
        }
    }
}
