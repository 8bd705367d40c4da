import Registers
package import SyncProtocol

/// That an agent is there which comes by MCP: a model has no connection to be present by, and no thread to say that it is.
package enum AgentPresence {
    /// The name of that presence.
    package static let name = "mcp"
    /// How long an agent counts as present that makes no call, and holds a task, in seconds: a model may think for long. Each of its calls
    /// begins that time anew.
    package static let patience: UInt64 = 1_800

    /// Says it for so many seconds.
    package static func renewal(_ swarm: String, seconds: UInt64 = patience) -> SyncMessage {
        var message = SyncMessage("swarm.join")
        message.add("swarm", swarm)
        message.add("ttl", seconds)
        message.add("presence", name)
        return message
    }

    /// What matches the registers that say it of an agent, in all swarms; nil: nobody has such a name.
    package static func pattern(of agent: String) -> String? {
        guard let segment = try? SwarmPattern.segment(agent) else { return nil }
        return "swarm:*:agent:" + SwarmPattern.literal(String(decoding: segment.escaped, as: UTF8.self)) + ":" + name
    }
}
