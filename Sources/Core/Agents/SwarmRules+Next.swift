import Access
import Registers
package import SyncEngine
package import SyncProtocol

/// Handing tasks out: each that is ready to one agent that waits.
extension SwarmRules {
    func next(_ next: NextTask, _ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer? {
        let swarm = try swarmSlot(caller)
        let waiter = Waiter(
            request: caller.request, call: caller.call, next: next, agent: caller.agent,
            deadline: commit.now + next.wait)
        // Two that wait under one op would both be given a task, and only one be known again.
        let first = try repeated(caller, swarm)
        var place = 0
        while let found = graph.firstReady(for: waiter, of: swarm, from: place) {
            if try hand(found.slot, to: waiter, isLate: false, &commit) {
                if let first { endWait(of: first, in: swarm, &commit) }
                return nil
            }
            place = found.place + 1
        }
        guard next.wait > 0 else { return CallAnswer(.none) }
        guard graph.waiting < limits.waiters else {
            throw WireError(.tooManyWaiters, "\(limits.waiters) calls wait for tasks; that is the limit")
        }
        try checkMayWait(caller, swarm, besides: first)
        if let first { endWait(of: first, in: swarm, &commit) }
        graph.update(swarm) { $0.waiters.append(waiter) }
        commit.answer(caller.request, .waiting, isLate: false)
        return nil
    }

    /// One call of a connection waits in a swarm, and some in all. One that is sent again takes the place of the first.
    private func checkMayWait(_ caller: Caller, _ swarm: SwarmSlot, besides first: Waiter?) throws(WireError) {
        let origin = caller.request.origin
        var count = 0
        for index in graph.swarms.indices {
            for waiter in graph.swarms[index].facts.waiters
            where waiter.request.origin == origin && waiter.request !== first?.request {
                count += 1
                if index == Int(swarm.index) {
                    throw WireError(
                        .tooManyWaiters, "a task.next of this connection waits in swarm \(caller.swarm) already",
                        hint: "unsubscribe with its id ends it")
                }
            }
        }
        guard count < limits.waitersOfConnection else {
            throw WireError(.tooManyWaiters, "calls of this connection wait in \(count) swarms; that is the limit")
        }
    }

    private func endWait(of waiter: Waiter, in swarm: SwarmSlot, _ commit: inout some CallContext) {
        graph.update(swarm) { $0.waiters.removeAll { $0.request === waiter.request } }
        answerNone(waiter, &commit)
    }

    /// The call that waits and is the same as this one.
    ///
    /// - Throws: ``WireError`` where another call has its op.
    private func repeated(_ caller: Caller, _ swarm: SwarmSlot) throws(WireError) -> Waiter? {
        guard let op = caller.call.op else { return nil }
        for index in graph.swarms.indices {
            for waiter in graph.swarms[index].facts.waiters
            where waiter.call.op == op && waiter.agent == caller.agent
                && waiter.request.grant?.bearer == caller.request.grant?.bearer
            {
                if index == Int(swarm.index), waiter.call.fingerprint == caller.call.fingerprint { return waiter }
                throw Self.otherRequest
            }
        }
        return nil
    }

    /// Offers the tasks that have become ready to those who wait, the first to be handed out first.
    func offerFresh(_ commit: inout some CallContext) throws {
        while !fresh.isEmpty {
            let slots = Set(fresh).filter { graph.node($0)?.status == .ready }
            fresh = []
            let ranked = slots.map { slot in
                (slot, ReadyRank(graph[slot], slot, aging: graph.settings(of: graph[slot].swarm).aging))
            }
            for (slot, _) in ranked.sorted(by: { $0.1 > $1.1 }) { try offer(slot, &commit) }
        }
    }

    private func offer(_ slot: TaskSlot, _ commit: inout some CallContext) throws {
        guard let waiter = graph.firstWaiter(for: slot) else { return }
        let swarm = graph[slot].swarm
        guard try hand(slot, to: waiter, isLate: true, &commit) else { return }
        graph.update(swarm) { facts in
            facts.waiters.removeAll { $0.request === waiter.request }
        }
    }

    /// Gives a task to an agent: its claim, its row and the answer.
    ///
    /// - Returns: false where somebody has claimed, or written, the key of its claim by hand: the task is passed over while that lasts.
    private func hand(
        _ slot: TaskSlot, to waiter: Waiter, isLate: Bool, _ commit: inout some CallContext
    ) throws -> Bool {
        let node = graph[slot]
        let claim = try SwarmKey.claim(graph.name(of: node.swarm), task: node.task).key()
        let time = waiter.next.endsWithConnection ? nil : waiter.next.lease ?? graph.settings(of: node.swarm).lease
        let lease = ClientMessage.Lease(
            .claim, key: claim, timeToLive: time, endsWithConnection: waiter.next.endsWithConnection)
        guard case .claimed(let grant) = try commit.lease(lease, for: waiter.request) else { return false }
        var step = Step("started", waiter.request)
        step.data = agentData(waiter.agent)
        let now = commit.now
        let row = try move(slot, to: .working, step, &commit) { row in
            row.attempt += 1
            row.fence = grant.fence
            row.agent = waiter.agent
            row.lease = time
            row.notBefore = nil
            row.reason = nil
            row.startedAt = now.seconds
        }
        let answer = try answer(
            row, handingOut: .init(key: claim, fence: grant.fence), until: grant.expiresAt, to: waiter.request, &commit)
        keep(answer, of: waiter.call, waiter.request, &commit)
        commit.answer(waiter.request, .called(answer), isLate: isLate)
        return true
    }

    func agentData(_ agent: Segment) -> [UInt8] {
        var data = JSONWriter()
        data.add("agent_id", agent)
        return data.finish()
    }

    func answer(
        _ row: TaskRow, handingOut claim: ClientMessage.FencedKey, until expiresAt: WallTime, to request: WriteRequest,
        _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let key = try SwarmKey.input(row.swarm, task: row.task).key()
        let mayRead = request.grant?.read.admits(key) ?? true
        let input = mayRead ? try commit.current(of: key)?.register.value : nil
        var answer = answer(row, to: request) { object in
            object.add("fence", number: claim.fence.rawValue)
            object.add("expires_at", number: expiresAt.milliseconds)
            object.add("claim", claim.key.bytes)
            if let input { object.add("input", raw: input) }
        }
        answer.handedOut = claim
        return answer
    }

    // MARK: Waiting no longer

    func answerNone(_ waiter: Waiter, _ commit: inout some CallContext) {
        commit.answer(waiter.request, .called(CallAnswer(.none)), isLate: true)
    }

    package func withdraw(
        _ id: RequestID?, isAnswered: Bool, of origin: Origin, _ commit: inout some CallContext
    ) {
        for slot in graph.swarms.indices.map({ SwarmSlot(index: Int32($0)) }) {
            let isMeant = { (waiter: Waiter) in
                waiter.request.origin == origin && (id == nil || waiter.request.id == id)
            }
            let meant = graph[slot].facts.waiters.filter(isMeant)
            guard !meant.isEmpty else { continue }
            graph.update(slot) { $0.waiters.removeAll(where: isMeant) }
            if isAnswered { for waiter in meant { answerNone(waiter, &commit) } }
        }
    }

    package func giveBack(
        _ claim: ClientMessage.FencedKey, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws(StoreError) {
        guard case .claim(let swarm, let task) = SwarmKey(claim.key), let key = try? SwarmKey.task(swarm, task).key(),
            let slot = graph.find(key), graph[slot].status == .working, graph[slot].fence == claim.fence
        else { return }
        try storeErrors {
            try endClaim(of: slot, request, &commit)
            try putBack(slot, isCounted: false, reason: "nobody was there to take it", request, &commit)
            try settle(&commit)
        }
    }

    /// What is thrown within that is no failure of the database would be a mistake of ours.
    func storeErrors(_ body: () throws -> Void) throws(StoreError) {
        do {
            try body()
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError("a rule refused what the server does of its own accord: \(error)")
        }
    }
}
