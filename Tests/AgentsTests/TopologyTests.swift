import Access
import Agents
import Registers
import SyncProtocol
import Testing

@Suite("Topology")
struct TopologyTests {
    private static let agents = ["a0", "a1", "a2", "a3", "a4", "a5"]
    /// In a hierarchy a0 leads a1 and a2, a1 leads a3 and a4, and a2 leads a5.
    private static let parents = ["a3": "a1", "a4": "a1", "a5": "a2"]

    /// Who may do what, said once more in another way: by tables.
    private static func isAllowed(_ topology: String, _ verb: String, _ from: String, _ to: String) -> Bool {
        if from == to { return true }
        switch topology {
        case "mesh": return true
        case "star": return from == "a0" || (verb == "message" && to == "a0")
        case "ring":
            let distance = abs((agents.firstIndex(of: from) ?? 0) - (agents.firstIndex(of: to) ?? 0))
            return [1, 5].contains(distance)
        default:
            let down = [
                "a0": ["a1", "a2"], "a1": ["a3", "a4"], "a2": ["a5"],
            ]
            if down[from]?.contains(to) == true { return true }
            return verb == "message" && down[to]?.contains(from) == true
        }
    }

    /// What a worker may: everything but the settings of the swarm.
    private func worker() throws -> Grant {
        let keys = Scope(
            matching: try ["swarm:s:task:*", "swarm:s:inbox:*", "swarm:s:board:*"].map { try Pattern($0) })
        return Grant(.token("worker"), read: .everything, write: keys)
    }

    @Test("Each pair of six agents, in each topology", arguments: Topology.allCases)
    func matrix(topology: Topology) throws {
        var swarm = try TestSwarm(isMade: false)
        try swarm.call(
            #"{"type":"swarm.init","swarm":"s","topology":"\#(topology.rawValue)","coordinator":"a0"}"#)
        for (index, agent) in Self.agents.enumerated() {
            let parent = Self.parents[agent].map { #","parent":"\#($0)""# } ?? ""
            try swarm.call(#"{"type":"swarm.join","swarm":"s"\#(parent)}"#, agent: agent, connection: index)
        }
        try swarm.call(#"{"type":"task.submit","swarm":"s","tasks":[{"id":"t"}]}"#, agent: "a0")
        let worker = try worker()
        for from in Self.agents {
            for to in Self.agents {
                let message = try swarm.call(
                    #"{"type":"message.send","swarm":"s","to":"\#(to)","body":1}"#, agent: from, grant: worker)
                #expect(
                    (message.string("type") == "sent") == Self.isAllowed(topology.rawValue, "message", from, to),
                    "\(topology): \(from) writes to \(to): \(message.members)")
                // Whoever may assign a task at all, by the one that has it now.
                try swarm.call(#"{"type":"task.assign","swarm":"s","task":"t","agent_id":"\#(from)"}"#)
                let assigned = try swarm.call(
                    #"{"type":"task.assign","swarm":"s","task":"t","agent_id":"\#(to)"}"#, agent: from, grant: worker)
                #expect(
                    (assigned.string("type") == "task") == Self.isAllowed(topology.rawValue, "assign", from, to),
                    "\(topology): \(from) assigns to \(to): \(assigned.members)")
            }
        }
    }
}
