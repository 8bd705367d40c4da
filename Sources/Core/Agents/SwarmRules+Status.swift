import NIOCore
import Registers
import SyncEngine
import SyncProtocol

/// What a swarm is doing: counted when it is asked for, and stored nowhere. What is not known is null.
extension SwarmRules {
    /// How many blocked tasks, and how many agents, are named.
    private static let maximumNamed = 100

    func status(_ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let slot = try swarmSlot(caller)
        let swarm = graph[slot]
        var object = JSONWriter(continues: true)
        object.add("swarm", caller.swarm)
        object.add("config", raw: swarm.facts.settings.json)
        object.add("tasks", raw: counts(swarm))
        object.add("waiting", number: swarm.facts.waiters.count)
        let oldest = graph.readyTasks(of: slot).map { graph[$0].since }.min()
        object.add(
            "oldest_ready_ms", optional: oldest.map { commit.now.milliseconds > $0 ? commit.now.milliseconds - $0 : 0 })
        object.add("completed_last_minute", optional: completedLately(caller.swarm, now: commit.now).map(UInt64.init))
        let shape = shape(of: slot)
        object.add("longest_chain", number: shape.longestChain)
        object.add("agents", raw: agents(swarm))
        object.add("blocked", raw: shape.blocked)
        return CallAnswer(.swarm, members: object.finish())
    }

    /// What takes a look at every dependency; the same until a task has changed.
    private func shape(of slot: SwarmSlot) -> Shape {
        if let known = shapes[slot], known.changes == graph.changes { return known }
        let shape = Shape(changes: graph.changes, longestChain: longestChain(of: slot), blocked: blocked(slot))
        shapes = shapes.filter { $0.value.changes == graph.changes }
        shapes[slot] = shape
        return shape
    }

    private func counts(_ swarm: SwarmState) -> [UInt8] {
        var object = JSONWriter()
        object.add("pending", number: swarm.counts[.pending] ?? 0)
        object.add("ready", number: swarm.counts[.ready] ?? 0)
        object.add("working", number: swarm.counts[.working] ?? 0)
        object.add("parked", number: swarm.counts[.parked] ?? 0)
        return object.finish()
    }

    private func agents(_ swarm: SwarmState) -> [UInt8] {
        var tasks: [Segment: [Segment]] = [:]
        for slot in swarm.working {
            let node = graph[slot]
            if let agent = node.agent { tasks[agent, default: []].append(node.task) }
        }
        let names = Set(swarm.facts.members.keys).union(tasks.keys).union(swarm.facts.present.keys)
        let sorted = names.sorted()
        return Self.array(
            sorted.prefix(Self.maximumNamed).map { agent in
                let member = swarm.facts.members[agent]
                var object = JSONWriter()
                object.add("agent_id", agent)
                object.add("role", member?.role)
                object.add("present", swarm.facts.present[agent] != nil)
                object.add("tasks", (tasks[agent] ?? []).map(\.bytes).sorted { ByteOrder.compare($0, $1) < 0 })
                return object.finish()
            })
    }

    /// The tasks that will not go on by themselves, and what each waits for that has not been done.
    private func blocked(_ swarm: SwarmSlot) -> [UInt8] {
        let slots = graph.liveTasks(of: swarm, limit: limits.tasksOfSwarm).filter { slot in
            graph[slot].dependencies.contains { isDead($0, for: slot) }
        }
        return Self.array(
            slots.prefix(Self.maximumNamed).map { slot in
                let node = graph[slot]
                var object = JSONWriter()
                object.add("task_id", node.task)
                object.add(
                    "blocked_by", node.dependencies.filter { isDead($0, for: slot) }.map { graph[$0].task.bytes })
                return object.finish()
            })
    }

    private func isDead(_ dependency: TaskSlot, for slot: TaskSlot) -> Bool {
        let status = graph[dependency].status
        return status.isTerminal && !status.satisfies(graph[slot].policy)
    }

    /// How many tasks are to be done one after the other at least.
    private func longestChain(of swarm: SwarmSlot) -> Int {
        var lengths: [TaskSlot: Int] = [:]
        var longest = 0
        for first in graph.liveTasks(of: swarm, limit: limits.tasksOfSwarm) {
            var left = [first]
            while let slot = left.last {
                if lengths[slot] != nil {
                    left.removeLast()
                    continue
                }
                let before = graph[slot].dependencies.filter { !graph[$0].status.isTerminal }
                let unknown = before.filter { lengths[$0] == nil }
                guard unknown.isEmpty else {
                    left += unknown
                    continue
                }
                lengths[slot] = 1 + (before.compactMap { lengths[$0] }.max() ?? 0)
                left.removeLast()
            }
            longest = max(longest, lengths[first] ?? 0)
        }
        return longest
    }

    private static func array(_ elements: [[UInt8]]) -> [UInt8] {
        Array("[".utf8) + Array(elements.joined(separator: Array(",".utf8))) + Array("]".utf8)
    }
}
