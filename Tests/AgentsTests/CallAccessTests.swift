import Access
import Agents
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import Testing

@Suite("What calls want to be allowed")
struct CallAccessTests {
    private let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)

    private func rights(_ text: String, agent: String = "ada") throws -> (writes: [String], reads: [String]) {
        guard case .call(let call) = try decoder.decode(Array(text.utf8).span) else { return ([], []) }
        let rights = try CallAccess.rights(call, Agent(agent))
        return (rights.writes.map(\.description), rights.reads.map(\.description))
    }

    private static let calls: [(message: String, writes: [String])] = [
        (#"{"type":"swarm.init","swarm":"s"}"#, ["swarm:s:config"]),
        (#"{"type":"swarm.end","swarm":"s"}"#, ["swarm:s:config"]),
        (#"{"type":"swarm.join","swarm":"s"}"#, ["swarm:s:agent:ada:*"]),
        (#"{"type":"swarm.leave","swarm":"s"}"#, ["swarm:s:agent:ada:*"]),
        (#"{"type":"swarm.status","swarm":"s"}"#, []),
        (
            #"{"type":"task.submit","swarm":"s","tasks":[{"id":"a"},{"id":"b:c"},{}]}"#,
            ["swarm:s:task:a", "swarm:s:task:b%3Ac"]
        ),
        (#"{"type":"task.next","swarm":"s"}"#, []),
        (#"{"type":"task.progress","swarm":"s","task":"t","fence":1}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.complete","swarm":"s","task":"t","fence":1}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.fail","swarm":"s","task":"t","fence":1}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.release","swarm":"s","task":"t","fence":1}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.park","swarm":"s","task":"t","fence":1}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.resume","swarm":"s","task":"t"}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.retry","swarm":"s","task":"t"}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.cancel","swarm":"s","task":"t"}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.assign","swarm":"s","task":"t","agent_id":"x"}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.revoke","swarm":"s","task":"t"}"#, ["swarm:s:task:t"]),
        (#"{"type":"task.depend","swarm":"s","task":"t","on":["u"]}"#, ["swarm:s:task:t"]),
        (#"{"type":"message.send","swarm":"s","to":"bob","body":1}"#, ["swarm:s:inbox:bob:*"]),
        (#"{"type":"message.send","swarm":"s","board":true,"body":1}"#, ["swarm:s:board:*"]),
        (#"{"type":"message.ack","swarm":"s","keys":["swarm:s:inbox:ada:1"]}"#, ["swarm:s:inbox:ada:1"]),
    ]

    @Test("Each call wants to write the key that it is about", arguments: calls)
    func writes(message: String, writes: [String]) throws {
        let found = try rights(message).writes
        #expect(found.count == writes.count)
        for (key, pattern) in zip(found, writes) { #expect(try Pattern(pattern).matches(Key(key)), "\(key)") }
    }

    @Test("Every call is in the table")
    func all() throws {
        let names = try Self.calls.map { try JSONObject(Array($0.message.utf8)).string("type") }
        #expect(Set(names) == Set(Call.Name.allCases.map(\.rawValue)))
    }

    @Test("Who may see a part sees a part: tasks that are offered, inputs, rows, and names that the server gives")
    func parts() throws {
        func grant(read: [String], write: [String]) throws -> Grant {
            func scope(_ patterns: [String]) throws -> Scope { Scope(matching: try patterns.map { try Pattern($0) }) }
            return Grant(.token("t"), read: try scope(read), write: try scope(write))
        }
        var swarm = try TestSwarm()
        try swarm.call(
            #"{"type":"task.submit","swarm":"s","tasks":[{"id":"mine","input":"secret"},{"id":"other","priority":9}]}"#)
        let writer = try grant(read: [], write: ["swarm:s:task:mine"])
        let submission = try swarm.call(#"{"type":"task.submit","swarm":"s","tasks":[{}]}"#, grant: writer)
        #expect(submission.string("code") == "forbidden" && swarm.rules.live == 2)
        let next = #"{"type":"task.next","swarm":"s"}"#
        let handed = try swarm.call(next, grant: writer)
        #expect(handed.object("task")?.string("task_id") == "mine" && handed.raw("input") == nil)
        #expect(handed.object("task")?.string("agent_id") == nil && handed.integer("fence") != nil)
        #expect(try swarm.call(next, connection: 2, grant: writer).string("type") == "none")
        let reader = try grant(read: ["swarm:s:**"], write: ["swarm:s:task:*"])
        let other = try swarm.call(next, connection: 3, grant: reader)
        #expect(other.object("task")?.string("agent_id") == "a")
    }
}
