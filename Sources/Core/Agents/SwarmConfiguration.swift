import NIOCore
package import Registers
package import SyncProtocol

/// A swarm as its register `swarm:<swarm>:config` has it. Anybody who may may write that by hand: what is missing or makes no sense is as it is by
/// default.
package struct SwarmConfiguration: Equatable, Sendable {
    package var topology = Topology.mesh
    package var coordinator: Segment?
    package var maximumAgents = 4_096
    package var maximumAttempts = 3
    /// In milliseconds.
    package var lease: UInt64 = 60_000
    package var failurePolicy = FailurePolicy.block
    package var aging = 0
    package var mirrors = true
    /// In seconds since 1970.
    package var createdAt: UInt64 = 0
    /// Since when it is being taken down; nil: it is not.
    package var endedAt: UInt64?

    package init() {}

    package init(_ settings: SwarmSettings, now: WallTime) {
        topology = settings.topology ?? topology
        coordinator = settings.coordinator
        maximumAgents = settings.maximumAgents ?? maximumAgents
        maximumAttempts = settings.maximumAttempts ?? maximumAttempts
        lease = settings.lease ?? lease
        failurePolicy = settings.failurePolicy ?? failurePolicy
        aging = settings.aging ?? aging
        mirrors = settings.mirrors ?? mirrors
        createdAt = now.seconds
    }

    /// Whether it is what `settings` say, where they say anything.
    package func agrees(with settings: SwarmSettings) -> Bool {
        func fits<Value: Equatable>(_ wanted: Value?, _ there: Value?) -> Bool { wanted == nil || wanted == there }
        return fits(settings.topology, topology) && fits(settings.coordinator, coordinator)
            && fits(settings.maximumAgents, maximumAgents) && fits(settings.maximumAttempts, maximumAttempts)
            && fits(settings.lease, lease) && fits(settings.failurePolicy, failurePolicy)
            && fits(settings.aging, aging) && fits(settings.mirrors, mirrors)
    }

    package var json: [UInt8] {
        var object = JSONWriter()
        object.add("topology", topology.rawValue)
        object.add("coordinator", coordinator)
        object.add("max_agents", number: maximumAgents)
        object.add("max_attempts", number: maximumAttempts)
        object.add("lease", seconds: lease)
        object.add("on_dependency_failure", failurePolicy.rawValue)
        object.add("aging", number: aging)
        object.add("mirror", mirrors)
        object.add("created_at", number: createdAt)
        if let endedAt { object.add("ended_at", number: endedAt) }
        return object.finish()
    }

    /// Reads the value of the register.
    package init(_ value: [UInt8]) {
        guard let object = try? JSONObject(value) else { return }
        func integer(_ name: String, in bounds: ClosedRange<Int64>) -> Int? {
            object.integer(name).flatMap { bounds.contains($0) ? Int($0) : nil }
        }
        topology = object.string("topology").flatMap(Topology.init) ?? topology
        coordinator = object.string("coordinator").flatMap { try? Segment($0) }
        maximumAgents = integer("max_agents", in: 1...4_096) ?? maximumAgents
        maximumAttempts = integer("max_attempts", in: 0...100) ?? maximumAttempts
        if let text = object.raw("lease"), let seconds = Double(String(decoding: text, as: UTF8.self)),
            1...86_400 ~= seconds
        {
            lease = UInt64((seconds * 1_000).rounded())
        }
        failurePolicy = object.string("on_dependency_failure").flatMap(FailurePolicy.init) ?? failurePolicy
        aging = integer("aging", in: 0...86_400) ?? aging
        mirrors = object.bool("mirror") ?? mirrors
        createdAt = object.integer("created_at").flatMap(UInt64.init(exactly:)) ?? 0
        endedAt = object.integer("ended_at").flatMap(UInt64.init(exactly:))
    }
}

/// An agent's membership, as `swarm:<swarm>:member:<agent>` has it.
package struct Member: Equatable, Sendable {
    package var agent: Segment
    package var role: [UInt8]?
    package var parent: Segment?
    package var position: Int
    package var capabilities: [[UInt8]]

    /// - Parameters:
    ///   - known: what it was before: of that stays what it does not say anew.
    ///   - position: its place where neither has one.
    package init(agent: Segment, _ membership: Membership, known: Member? = nil, position: Int) {
        self.agent = agent
        role = membership.role ?? known?.role
        parent = membership.parent ?? known?.parent
        self.position = membership.position ?? known?.position ?? position
        capabilities = membership.capabilities ?? known?.capabilities ?? []
    }

    package var json: [UInt8] {
        var object = JSONWriter()
        object.add("agent_id", agent)
        object.add("role", role)
        if let parent { object.add("parent", parent) }
        object.add("position", number: position)
        object.add("capabilities", capabilities)
        return object.finish()
    }

    package init(_ value: [UInt8], agent: Segment) {
        let object = try? JSONObject(value)
        self.agent = agent
        role = object?.string("role").map { Array($0.utf8) }
        parent = object?.string("parent").flatMap { try? Segment($0) }
        // Another database may say anything.
        position = object?.integer("position").flatMap { 0...1_000_000 ~= $0 ? Int($0) : nil } ?? 0
        capabilities = (object?.array("capabilities") ?? []).compactMap {
            JSONObject.string($0).map { Array($0.utf8) }
        }
    }
}
