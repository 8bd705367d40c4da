import Registers
import SyncEngine
import SyncProtocol
import TestSupport
import Testing

@Suite("Tasks, beside a model of them")
struct TaskModelTests {
    /// One history: real rules and the model do the same.
    private struct History {
        var random: SeededGenerator
        var swarm: TestSwarm
        var model = TaskModel()
        var names: [String] = []
        var connections = 10

        init(seed: UInt64) throws {
            random = SeededGenerator(seed: seed)
            swarm = try TestSwarm()
        }

        mutating func step() throws {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<20 where names.count < 25: try submit()
            case 0..<45: try next()
            case 45..<75: try finish()
            case 75..<85: try lose()
            case 85..<93: try retry()
            default:
                swarm.pass(1_000)
                model.tick()
            }
        }

        private mutating func submit() throws {
            var tasks: [(name: String, dependencies: Set<String>, policy: String)] = []
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let name = "t" + "\(100 + names.count)".dropFirst()
                let count = Int.random(in: 0...3, using: &random)
                let dependencies = Set(names.shuffled(using: &random).prefix(count))
                let policy = ["block", "cancel", "run"].randomElement(using: &random) ?? "block"
                tasks.append((name, dependencies, policy))
                names.append(name)
            }
            let texts = tasks.map { name, dependencies, policy in
                let list = dependencies.sorted().map { "\"\($0)\"" }.joined(separator: ",")
                return #"{"id":"\#(name)","dependencies":[\#(list)],"on_dependency_failure":"\#(policy)"}"#
            }
            try swarm.call(#"{"type":"task.submit","swarm":"s","tasks":[\#(texts.joined(separator: ","))]}"#)
            model.submit(tasks)
        }

        private mutating func next() throws {
            connections += 1
            let text = #"{"type":"task.next","id":1,"swarm":"s","until":"disconnect","wait":60}"#
            swarm.commit([try swarm.request(text, agent: "a\(connections)", connection: connections)])
            model.next(connections)
        }

        private mutating func held() throws -> (task: String, fence: Int64, connection: Int)? {
            guard let task = model.holders.keys.sorted().randomElement(using: &random),
                let holder = model.holders[task],
                let fence = try swarm.value("swarm:s:task:\(task)")?.integer("fence")
            else { return nil }
            return (task, fence, holder)
        }

        private mutating func finish() throws {
            guard let (task, fence, connection) = try held() else { return }
            let isDone = Int.random(in: 0..<10, using: &random) < 7
            try swarm.call(
                #"{"type":"task.\#(isDone ? "complete" : "fail")","swarm":"s","task":"\#(task)","fence":\#(fence)}"#,
                agent: "a\(connection)", connection: connection)
            model.finish(task, as: isDone ? "completed" : "failed")
        }

        private mutating func lose() throws {
            guard let (task, fence, connection) = try held() else { return }
            let isCounted = Int.random(in: 0..<10, using: &random) < 7
            if isCounted {
                swarm.disconnect(connection)
            } else {
                try swarm.call(
                    #"{"type":"task.release","swarm":"s","task":"\#(task)","fence":\#(fence)}"#,
                    agent: "a\(connection)", connection: connection)
            }
            model.lose(task, isCounted: isCounted)
        }

        private mutating func retry() throws {
            guard let task = names.randomElement(using: &random) else { return }
            try swarm.call(#"{"type":"task.retry","swarm":"s","task":"\#(task)"}"#)
            model.retry(task)
        }

        /// Where the two differ.
        func difference() throws -> String? {
            for name in names.sorted() {
                let status = try swarm.status(name)
                if status != model.rows[name]?.status {
                    return "\(name) is \(status ?? "absent"), not \(model.rows[name]?.status ?? "absent")"
                }
            }
            for (task, holder) in model.holders {
                let agent = try swarm.value("swarm:s:task:\(task)")?.string("agent_id")
                if agent != "a\(holder)" { return "\(agent ?? "nobody") has \(task), not a\(holder)" }
            }
            return nil
        }
    }

    @Test("Any history of calls, losses and time ends as the model has it", arguments: 0..<150 as Range<UInt64>)
    func histories(seed: UInt64) throws {
        var history = try History(seed: seed)
        for step in 0..<120 {
            try history.step()
            if let difference = try history.difference() {
                Issue.record("seed \(seed), step \(step): \(difference)")
                return
            }
        }
    }
}
