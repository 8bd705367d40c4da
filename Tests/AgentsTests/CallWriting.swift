import SyncProtocol
import Testing

/// A suite that calls in swarm `s`: the messages that it makes most, and what it looks for in their answers.
protocol CallWriting {}

extension CallWriting {
    func submit(_ tasks: String, op: String? = nil) -> String {
        let op = op.map { #","op":"\#($0)""# } ?? ""
        return #"{"type":"task.submit","id":1,"swarm":"s"\#(op),"tasks":[\#(tasks)]}"#
    }

    var next: String { #"{"type":"task.next","id":2,"swarm":"s","lease":10}"# }
    var waitingNext: String { #"{"type":"task.next","id":3,"swarm":"s","lease":10,"wait":30}"# }

    func finish(_ task: String, _ fence: Int64, _ verb: String = "complete", _ rest: String = "") -> String {
        #"{"type":"task.\#(verb)","id":4,"swarm":"s","task":"\#(task)","fence":\#(fence)\#(rest)}"#
    }

    /// The task and the fence of an answer.
    func handed(_ answer: JSONObject) throws -> (task: String, fence: Int64) {
        #expect(answer.string("type") == "task", "\(answer.members)")
        let task = try #require(answer.object("task")?.string("task_id"))
        return (task, try #require(answer.integer("fence")))
    }

    func take(_ swarm: inout TestSwarm, agent: String = "a", connection: Int = 1) throws -> (
        task: String, fence: Int64
    ) {
        try handed(swarm.call(next, agent: agent, connection: connection))
    }
}
