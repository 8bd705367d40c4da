package import Registers
package import SyncEngine
import SyncProtocol

/// Keeping the index in step with registers that others than calls have changed.
extension SwarmRules {
    /// How many keys are read at once.
    private static let portion = 4_096

    package func changed(
        _ new: StoredRegister, from old: StoredRegister?, _ commit: inout some CallContext
    ) throws(StoreError) {
        guard let key = SwarmKey(new.register.key) else { return }
        try storeErrors {
            switch key {
            case .claim(let swarm, let task): try claimChanged(swarm, task, new, &commit)
            case .task(let swarm, let task): try rowChanged(swarm, task, new, old, &commit)
            case .presence(let swarm, let agent, let presence):
                let slot = graph.makeSwarm(swarm)
                graph.update(slot) { $0.note(presence, of: agent, isThere: !new.register.isTombstone) }
                if graph[slot].facts.present[agent] == nil { offerAssigned(to: agent, slot) }
            case .member(let swarm, let agent):
                graph.update(graph.makeSwarm(swarm)) { facts in
                    facts.members[agent] = new.register.value.map { Member($0, agent: agent) }
                }
            case .config(let swarm):
                graph.update(graph.makeSwarm(swarm)) { facts in
                    facts.configuration = new.register.value.map(SwarmConfiguration.init)
                }
            case .input, .result, .progress, .inbox, .board, .log: return
            }
            try settle(&commit)
        }
    }

    /// The claim of a task has ended, or somebody has claimed it by hand.
    private func claimChanged(
        _ swarm: Segment, _ task: Segment, _ claim: StoredRegister, _ commit: inout some CallContext
    ) throws {
        guard let slot = graph.find(try SwarmKey.task(swarm, task).key()) else { return }
        let node = graph[slot]
        switch node.status {
        case .working:
            if claim.fence == node.fence, claim.binding?.isExclusive == true, !claim.register.isTombstone { return }
            // What its agent gave up by hand, and what a restart of the server took from it, is not held against the task.
            let isCounted = claim.register.cause != nil && !commit.isStart
            let reason =
                switch claim.register.cause {
                case .expired: "the lease was over"
                case .disconnected: "its agent was gone"
                case nil: "its claim was released"
                }
            try putBack(slot, isCounted: isCounted, reason: reason, Self.own, &commit)
        case .ready: fresh.append(slot)
        case .pending, .parked, .completed, .failed, .cancelled: break
        }
    }

    /// The row of a task has expired, or another database has brought one.
    private func rowChanged(
        _ swarm: Segment, _ task: Segment, _ new: StoredRegister, _ old: StoredRegister?,
        _ commit: inout some CallContext
    ) throws {
        let key = new.register.key
        guard let row = row(new, swarm, task) else {
            return try rowEnded(swarm, task, key, old, &commit)
        }
        guard let slot = graph.find(key) else {
            let slot = graph.insert(node(row, new))
            if row.status == .pending { try link(slot, row, &commit) }
            if row.status == .ready { fresh.append(slot) }
            graph.forgetIfUnneeded(slot)
            return try checkClaim(of: slot, &commit)
        }
        let before = graph[slot].status
        graph.unlink(slot)
        graph.update(slot) { $0.update(row, new) }
        if row.status == .pending { try link(slot, row, &commit) }
        graph.tellDependents(of: slot, from: before)
        if row.status == .ready { fresh.append(slot) }
        graph.forgetIfUnneeded(slot)
        try checkClaim(of: slot, &commit)
    }

    private func rowEnded(
        _ swarm: Segment, _ task: Segment, _ key: Key, _ old: StoredRegister?, _ commit: inout some CallContext
    ) throws {
        if let slot = graph.find(key) {
            if graph[slot].status.isTerminal, let row = row(old, swarm, task) {
                // Something waits for it: else it would not be in the graph. Its end is to be known for as long.
                _ = try write(row, to: key, Self.own, &commit)
                return
            }
            let before = graph[slot].status
            graph.unlink(slot)
            graph.update(slot) { $0.status = .cancelled }
            graph.tellDependents(of: slot, from: before)
            graph.forgetIfUnneeded(slot)
        }
        guard let input = try? SwarmKey.input(swarm, task: task).key(), let stored = try commit.current(of: input),
            !stored.register.isTombstone, !stored.isHeld(at: commit.now)
        else { return }
        try put(input, nil, Self.own, &commit)
    }

    // MARK: Loading

    package func load(_ commit: inout some CallContext) throws(StoreError) {
        try makeIndex(&commit)
        index = .made
        if since == 0 { since = commit.now }
        // Where nobody knew for a while whether the end of a swarm was on the disk, some still wait for its tasks.
        for index in graph.swarms.indices where !graph.swarms[index].facts.isThere {
            for waiter in graph.swarms[index].facts.waiters { answerNone(waiter, &commit) }
            graph.update(SwarmSlot(index: Int32(index))) { $0.waiters = [] }
        }
        try storeErrors {
            for slot in graph.allSlots { try checkClaim(of: slot, &commit) }
            fresh += graph.allSlots.filter { graph[$0].status == .ready }
            try settle(&commit)
        }
    }

    /// Makes the index from what the database has, and changes nothing there.
    package func makeIndex(_ commit: inout some CallContext) throws(StoreError) {
        graph.forget()
        try storeErrors {
            let waiting = try loadLasting(&commit)
            for swarm in graph.swarms.map(\.name) { try loadPresences(of: swarm, &commit) }
            for (slot, dependencies) in waiting { try link(slot, to: dependencies, &commit) }
            graph.committed()
        }
    }

    /// Reads what does not expire: settings, members and the tasks that are not over.
    ///
    /// - Returns: the tasks that depend on others, and on which.
    private func loadLasting(_ commit: inout some CallContext) throws -> [(TaskSlot, [Segment])] {
        var waiting: [(TaskSlot, [Segment])] = []
        try forEachKey(from: SwarmKey.prefix, isLasting: true, &commit) { stored in
            guard let value = stored.register.value else { return }
            switch SwarmKey(stored.register.key) {
            case .config(let swarm)?:
                graph.update(graph.makeSwarm(swarm)) { $0.configuration = SwarmConfiguration(value) }
            case .member(let swarm, let agent)?:
                graph.update(graph.makeSwarm(swarm)) { $0.members[agent] = Member(value, agent: agent) }
            case .task(let swarm, let task)?:
                guard let row = row(stored, swarm, task), !row.status.isTerminal else { return }
                let slot = graph.insert(node(row, stored))
                if row.status == .pending, row.startedAt == nil, !row.dependencies.isEmpty {
                    waiting.append((slot, row.dependencies))
                }
            default: return
            }
        }
        return waiting
    }

    private func loadPresences(of swarm: Segment, _ commit: inout some CallContext) throws {
        try forEachKey(from: SwarmKey.presencesPrefix(swarm), isLasting: false, &commit) { stored in
            guard case .presence(_, let agent, let presence)? = SwarmKey(stored.register.key) else { return }
            graph.update(graph.makeSwarm(swarm)) { $0.note(presence, of: agent, isThere: true) }
        }
    }

    /// Goes through what is in the database; what is read that nothing is made of is only its key.
    private func forEachKey<Context: CallContext>(
        from prefix: [UInt8], isLasting: Bool, _ commit: inout Context, _ body: (StoredRegister) throws -> Void
    ) throws {
        let range = Self.range(of: prefix)
        var start = range.lowerBound
        while true {
            let keys = try commit.keys(in: start..<range.upperBound, limit: Self.portion, isLasting: isLasting)
            for key in keys {
                switch SwarmKey(key) {
                case .config?, .member?, .task?, .presence?: break
                default: continue
                }
                if let stored = try commit.glance(at: key), !stored.register.isTombstone { try body(stored) }
            }
            guard keys.count == Self.portion, let last = keys.last else { return }
            start = Key(unchecked: last.bytes + [0])
        }
    }

    /// A task that an agent is said to have, under a claim that there is not, goes back: it was imported, or restored.
    private func checkClaim(of slot: TaskSlot, _ commit: inout some CallContext) throws {
        guard let node = graph.node(slot), node.status == .working else { return }
        let key = try SwarmKey.claim(graph[node.swarm].name, task: node.task).key()
        if let claim = try commit.glance(at: key), claim.fence == node.fence, claim.binding?.isExclusive == true,
            !claim.register.isTombstone
        {
            return
        }
        try putBack(slot, isCounted: false, reason: "it was found without a claim", Self.own, &commit)
    }
}
