import Agents
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

@Suite("The audit of tasks")
struct SwarmAuditTests {
    private func problems(_ swarm: TestSwarm) -> [String] {
        var audit = SwarmAudit(now: swarm.now)
        for stored in swarm.disk.committed.values { audit.note(stored) }
        return audit.problems
    }

    @Test("What the rules have written agrees with itself; what somebody else has does not")
    func audit() throws {
        var swarm = try TestSwarm()
        try swarm.call(
            #"{"type":"task.submit","swarm":"s","tasks":[{"id":"a"},{"id":"b","dependencies":["a"]},{"id":"c"}]}"#)
        let task = try swarm.call(#"{"type":"task.next","swarm":"s"}"#)
        #expect(problems(swarm).isEmpty)
        let fence = try #require(task.integer("fence"))
        // As an import may bring it.
        func forge(_ name: String, _ old: String, _ new: String) throws -> [String] {
            var audit = SwarmAudit(now: swarm.now)
            for var stored in swarm.disk.committed.values {
                if stored.register.key == (try Key("swarm:s:task:\(name)")), let value = stored.register.value {
                    let text = String(decoding: value, as: UTF8.self).replacing(old, with: new)
                    stored.register.value = Array(text.utf8)
                }
                audit.note(stored)
            }
            return audit.problems
        }
        #expect(try forge("b", "pending", "ready").contains { $0.contains("it is ready, and depends on a") })
        #expect(try forge("a", "\(fence)", "1").contains { $0.contains("nobody has its claim") })
        #expect(try forge("a", "working", "parked").contains { $0.contains("it is parked, and is claimed") })
    }
}
