package import Registers
import SyncProtocol

/// What the index says, for comparison with one that is made anew from the rows.
extension SwarmRules {
    /// A line for each task and swarm that is remembered, in order.
    package var summary: [String] {
        let tasks = graph.allSlots.map { slot in
            let node = graph[slot]
            let rank = ReadyRank(node, slot, aging: graph[node.swarm].facts.settings.aging)
            let due = node.dueAt.map { "due \($0)" } ?? "not due"
            return "\(node.key) \(node.status.rawValue) attempt \(node.attempt) fence \(node.fence) row \(node.row) "
                + "weight \(rank.weight) \(due) for \(node.assignee.map { "\($0)" } ?? "anybody") "
                + "waits for \(names(node.dependencies)) unmet \(node.unmet) fatal \(node.fatal) "
                + "before \(names(node.dependents))"
        }
        let swarms = graph.swarms.filter { !$0.isEmpty }.map { swarm in
            let counts = swarm.counts.filter { $0.value > 0 }.map { "\($0.key.rawValue) \($0.value)" }.sorted()
            let present = swarm.facts.present.map { "\($0.key) \($0.value.sorted())" }.sorted()
            let members = swarm.facts.members.keys.map { "\($0)" }.sorted()
            return "swarm \(swarm.name) \(swarm.facts.configuration == nil ? "unknown" : "known") \(counts) "
                + "ready \(swarm.ready.elements.map { "\(graph[$0.slot].task)" }) working \(names(swarm.working)) "
                + "members \(members) present \(present)"
        }
        return (tasks + swarms).sorted()
    }

    private func names(_ slots: some Sequence<TaskSlot>) -> [String] { slots.map { "\(graph[$0].key)" }.sorted() }

    /// How many calls wait.
    package var waiting: Int { graph.waiting }
    /// How many tasks are not over.
    package var live: Int { graph.live }

    /// What must never be: the first of it, where there is any.
    ///
    /// - Parameter isHeld: whether the claim of a task is in force, or will be found over by the next sweep.
    package func problem(now: WallTime, isHeld: (Key, Fence) -> Bool) -> String? {
        for slot in graph.allSlots {
            let node = graph[slot]
            switch node.status {
            case .working:
                guard let claim = try? SwarmKey.claim(graph[node.swarm].name, task: node.task).key() else { continue }
                if !isHeld(claim, node.fence) { return "\(node.key) is working, and nobody has its claim" }
            case .pending:
                if node.fatal == 0, node.unmet == 0, node.notBefore <= now { return "\(node.key) waits for nothing" }
                if node.fatal > 0 { return "\(node.key) is to be cancelled, and is not" }
                let unmet = node.dependencies.count { !graph[$0].status.satisfies(node.policy) }
                if unmet != Int(node.unmet) { return "\(node.key) waits for \(node.unmet), and \(unmet) are not done" }
            case .ready, .parked, .completed, .failed, .cancelled: break
            }
        }
        return nil
    }
}
