import Registers
import SyncEngine
import SyncProtocol

/// Swarms, and who is in them.
extension SwarmRules {
    func initialize(
        _ settings: SwarmSettings, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let key = try SwarmKey.config(caller.swarm).key()
        let slot = graph.makeSwarm(caller.swarm)
        if graph[slot].facts.isEnding {
            throw WireError(.notReady, "swarm \(caller.swarm) is ending: its tasks are being cancelled")
        }
        if let there = graph[slot].facts.configuration {
            guard there.agrees(with: settings) else {
                throw WireError(
                    .exists, "there is a swarm \(caller.swarm) already, with other settings",
                    hint: "its settings are the value of \(key), which can be written")
            }
            return swarmAnswer(caller.swarm, there, isNew: false)
        }
        if settings.topology == .star, settings.coordinator == nil {
            throw WireError(.missingField, "a star needs a \"coordinator\", from and to whom everything goes")
        }
        try checkRoom(for: key, caller, &commit)
        let configuration = SwarmConfiguration(settings, now: commit.now)
        try put(key, configuration.json, caller.request, &commit)
        graph.update(slot) { $0.configuration = configuration }
        return swarmAnswer(caller.swarm, configuration, isNew: true)
    }

    private func swarmAnswer(_ swarm: Segment, _ configuration: SwarmConfiguration, isNew: Bool) -> CallAnswer {
        var object = JSONWriter(continues: true)
        object.add("swarm", swarm)
        object.add("created", isNew)
        object.add("config", raw: configuration.json)
        return CallAnswer(.swarm, members: object.finish())
    }

    func join(
        _ membership: Membership, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let swarm = try swarmSlot(caller)
        let agent = caller.agent
        let facts = graph[swarm].facts
        let known = facts.members[agent]
        if known == nil, facts.members.count >= facts.settings.maximumAgents {
            throw WireError(
                .tooManyHolds, "swarm \(caller.swarm) has \(facts.members.count) members; that is its limit")
        }
        try checkParent(membership.parent, of: agent, in: facts)
        let last = facts.members.values.map(\.position).max() ?? -1
        var member = Member(agent: agent, membership, known: known, position: last + 1)
        if let known, !mayAdministrate(caller) {
            // A member does not choose its neighbours anew.
            member.position = known.position
            member.parent = known.parent
        }
        let key = try SwarmKey.member(caller.swarm, agent: agent).key()
        try checkIsFree(key, &commit)
        let presence = try membership.presence ?? Segment(stamp(&commit).span)
        let presenceKey = try SwarmKey.presence(caller.swarm, agent: agent, presence: presence).key()
        try checkRoom(for: presenceKey, caller, &commit)
        var write = ClientMessage.Write(key: presenceKey, value: presenceValue(agent, commit.now))
        write.timeToLive = membership.timeToLive
        write.endsWithConnection = membership.timeToLive == nil
        if case .refused(let error) = try commit.write(write, for: caller.request) { throw error }
        if known != member { try put(key, member.json, caller.request, &commit) }
        graph.update(swarm) { facts in
            facts.members[agent] = member
            facts.note(presence, of: agent, isThere: true)
        }
        var object = JSONWriter(continues: true)
        object.add("swarm", caller.swarm)
        object.add("agent_id", agent)
        object.add("position", number: member.position)
        object.add("presence", presence)
        return CallAnswer(.swarm, members: object.finish())
    }

    /// Nobody leads those who lead him.
    private func checkParent(_ parent: Segment?, of agent: Segment, in facts: SwarmFacts) throws(WireError) {
        var path = [agent]
        var next = parent
        while let leader = next {
            path.append(leader)
            if leader == agent { throw Self.cycle(path.map { "\($0)" }) }
            guard path.count <= facts.members.count + 1 else { return }
            next = facts.members[leader]?.parent
        }
    }

    private func presenceValue(_ agent: Segment, _ now: WallTime) -> [UInt8] {
        var object = JSONWriter()
        object.add("agent_id", agent)
        object.add("joined_at", number: now.seconds)
        return object.finish()
    }

    func leave(_ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let swarm = try swarmSlot(caller)
        let agent = caller.agent
        let key = try SwarmKey.member(caller.swarm, agent: agent).key()
        guard graph[swarm].facts.members[agent] != nil else {
            throw WireError(.notMember, "\(agent) is no member of swarm \(caller.swarm)")
        }
        try checkIsFree(key, &commit)
        try put(key, nil, caller.request, &commit)
        for presence in (graph[swarm].facts.present[agent] ?? []).sorted() {
            try put(
                SwarmKey.presence(caller.swarm, agent: agent, presence: presence).key(), nil, caller.request, &commit)
        }
        graph.update(swarm) { facts in
            facts.members[agent] = nil
            facts.present[agent] = nil
        }
        offerAssigned(to: agent, swarm)
        var object = JSONWriter(continues: true)
        object.add("swarm", caller.swarm)
        object.add("agent_id", agent)
        return CallAnswer(.swarm, members: object.finish())
    }

    /// What is meant for an agent that is not there may go to anybody.
    func offerAssigned(to agent: Segment, _ swarm: SwarmSlot) {
        fresh += graph[swarm].assigned[agent] ?? []
    }

    func end(_ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let swarm = try swarmSlot(caller)
        let live = graph[swarm].live
        var configuration = graph[swarm].facts.settings
        configuration.endedAt = commit.now.seconds
        let key = try SwarmKey.config(caller.swarm).key()
        try checkIsFree(key, &commit)
        try put(key, configuration.json, caller.request, &commit)
        let waiters = graph[swarm].facts.waiters
        graph.update(swarm) { facts in
            facts.configuration = configuration
            facts.waiters = []
        }
        for waiter in waiters { answerNone(waiter, &commit) }
        var object = JSONWriter(continues: true)
        object.add("swarm", caller.swarm)
        object.add("cancelled", number: live)
        return CallAnswer(.swarm, members: object.finish())
    }

    /// Cancels the tasks of swarms that are ending, some in each commit, and at last forgets the swarms. That one is ending is in its register: a
    /// crash in between stops nothing.
    func takeDown(_ commit: inout some CallContext) throws {
        for swarm in graph.ending.sorted(by: { $0.index < $1.index }) {
            let caller = Caller(Call(.swarmEnd, swarm: graph[swarm].name, action: .end), Self.own)
            for slot in graph.liveTasks(of: swarm, limit: max(0, limits.moves - moves)) {
                guard let node = graph.node(slot), !node.status.isTerminal else { continue }
                guard moves < limits.moves else { break }
                moves += Self.weight(of: node)
                try cancel(slot, reason: "the swarm has ended", caller, &commit)
            }
            guard graph[swarm].live == 0 else { continue }
            let name = graph[swarm].name
            guard try dismiss(swarm, &commit) else { continue }
            let key = try SwarmKey.config(name).key()
            // A claim from before its keys were guarded keeps it until that ends.
            if try commit.current(of: key)?.isHeld(at: commit.now) != true { try put(key, nil, Self.own, &commit) }
            graph.update(swarm) { $0.configuration = nil }
        }
    }

    /// Ends memberships of a swarm, and presences, some in each commit.
    ///
    /// - Returns: whether none are left.
    private func dismiss(_ swarm: SwarmSlot, _ commit: inout some CallContext) throws -> Bool {
        let name = graph[swarm].name
        for (agent, presences) in graph[swarm].facts.present.sorted(by: { $0.key < $1.key }) {
            for presence in presences.sorted() {
                guard moves < limits.moves else { return false }
                moves += 1
                try remove(SwarmKey.presence(name, agent: agent, presence: presence).key(), &commit)
                graph.update(swarm) { $0.note(presence, of: agent, isThere: false) }
            }
        }
        for agent in graph[swarm].facts.members.keys.sorted() {
            guard moves < limits.moves else { return false }
            moves += 1
            try remove(SwarmKey.member(name, agent: agent).key(), &commit)
            graph.update(swarm) { $0.members[agent] = nil }
        }
        return true
    }

    /// Deletes what is not under somebody's claim.
    private func remove(_ key: Key, _ commit: inout some CallContext) throws {
        if try commit.current(of: key)?.isHeld(at: commit.now) == true { return }
        try put(key, nil, Self.own, &commit)
    }

    // MARK: Topology

    /// The member that calls.
    private func member(_ caller: Caller) throws(WireError) -> Member {
        let swarm = try swarmSlot(caller)
        guard let member = graph[swarm].facts.members[caller.agent] else {
            throw WireError(
                .notMember, "\(caller.agent) is no member of swarm \(caller.swarm)", hint: "swarm.join makes it one")
        }
        return member
    }

    /// Whether the topology lets the caller do something to another member.
    func checkTopology(_ verb: TopologyRules.Verb, to agent: Segment, _ caller: Caller) throws(WireError) {
        if verb == .assign, mayAdministrate(caller) { return }
        let swarm = try swarmSlot(caller)
        let from = try member(caller)
        let facts = graph[swarm].facts
        guard let to = facts.members[agent] else {
            throw WireError(.notMember, "\(agent) is no member of swarm \(caller.swarm)")
        }
        let areNeighbours = facts.settings.topology == .ring && facts.areNeighbours(from.agent, to.agent)
        guard
            TopologyRules.allows(verb, from: from, to: to, in: facts.settings, areNeighbours: areNeighbours)
        else {
            throw WireError(
                .forbidden,
                "in a swarm that is arranged as \(facts.settings.topology.rawValue), \(from.agent) may not "
                    + (verb == .message ? "send messages to \(to.agent)" : "direct the tasks of \(to.agent)"))
        }
    }

    /// Whether the caller may write the settings of the swarm, and with that may anything in it.
    func mayAdministrate(_ caller: Caller) -> Bool {
        (try? SwarmKey.config(caller.swarm).key()).map(caller.mayWrite) ?? false
    }

    /// Whether the caller may say what becomes of a task that others have, or may get.
    func checkMayDirect(_ row: TaskRow, _ caller: Caller) throws(WireError) {
        if mayAdministrate(caller) || row.agent == caller.agent { return }
        let from = try member(caller)
        guard let agent = row.agent, let swarm = graph.swarm(caller.swarm), graph[swarm].facts.members[agent] != nil
        else {
            // Nobody's: the coordinator's where there is one.
            guard let hub = try graph[swarmSlot(caller)].facts.settings.coordinator, hub != from.agent else { return }
            throw WireError(.forbidden, "only \(hub) coordinates swarm \(caller.swarm)")
        }
        try checkTopology(.assign, to: agent, caller)
    }
}
