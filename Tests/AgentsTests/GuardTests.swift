import Access
import Agents
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

@Suite("Guarded keys, members and messages")
struct GuardTests {
    @Test("What only calls write is refused to everything else, whether it is there or not")
    func guarded() throws {
        var swarm = try TestSwarm()
        try swarm.call(#"{"type":"task.submit","swarm":"s","tasks":[{"id":"t"}]}"#)
        for key in [
            "swarm:s:task:t", "swarm:other:task:new", "swarm:s:inbox:a:1", "swarm:s:board:1", "swarm:s:task:",
            "swarm:s:task:t:claim", "swarm:s:task:t:result", "swarm:s:task:t:input", "swarm:s:task:t:progress",
            "swarm:s:member:a", "swarm:s:agent:a:1", "swarm:s:log:1",
        ] {
            for message in [
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":1}"#,
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":1,"transient":true}"#,
                #"{"type":"delete","id":1,"key":"\#(key)"}"#,
                #"{"type":"claim","id":1,"key":"\#(key)","ttl":1}"#,
                #"{"type":"touch","id":1,"key":"\#(key)","ttl":1}"#,
            ] {
                #expect(try swarm.call(message).string("code") == "guarded", "\(message)")
            }
            let batch = try swarm.call(
                #"{"type":"batch","id":1,"writes":[{"key":"x","value":1},{"key":"\#(key)","value":1}]}"#)
            let failure = try batch.array("failed").map { try JSONObject(#require($0.first)) }
            #expect(failure?.string("reason") == "guarded" && failure?.integer("write") == 1)
        }
        for key in ["swarm:s:config", "swarm:s:task:t:notes", "swarm:s", "swarm:s:task", "task:t:status"] {
            #expect(try swarm.call(#"{"type":"broadcast","id":1,"key":"\#(key)","value":1}"#).bool("applied") == true)
        }
        // What calls write may not be kept from them.
        #expect(try swarm.call(#"{"type":"claim","id":1,"key":"swarm:t:config","ttl":1}"#).string("code") == "guarded")
        #expect(try swarm.status("t") == "ready")
    }

    @Test("Messages stay until the one they are for has acknowledged them")
    func inbox() throws {
        var limits = SwarmRules.Limits()
        limits.inbox = 2
        var swarm = try TestSwarm(limits: limits)
        func send(_ to: String, from: String = "a") throws -> JSONObject {
            try swarm.call(
                #"{"type":"message.send","swarm":"s","to":"\#(to)","kind":"note","body":{"x":1}}"#, agent: from)
        }
        #expect(try send("b").string("code") == "not_member")
        try swarm.call(#"{"type":"swarm.join","swarm":"s"}"#, agent: "a", connection: 1)
        #expect(try send("b").string("code") == "not_member")
        try swarm.call(#"{"type":"swarm.join","swarm":"s"}"#, agent: "b", connection: 2)
        let key = try #require(send("b").string("key"))
        #expect(try swarm.value(key)?.string("from") == "a" && swarm.value(key)?.object("body")?.integer("x") == 1)
        _ = try send("b")
        #expect(try send("b").string("code") == "inbox_full")
        let acknowledgement = #"{"type":"message.ack","swarm":"s","keys":["\#(key)"]}"#
        #expect(try swarm.call(acknowledgement, agent: "a").string("code") == "forbidden")
        #expect(try swarm.call(acknowledgement, agent: "b").integer("count") == 1)
        #expect(try swarm.call(acknowledgement, agent: "b").integer("count") == 0)
        #expect(try send("b").string("type") == "sent")
        let board = try swarm.call(#"{"type":"message.send","swarm":"s","board":true,"body":1}"#)
        #expect(board.string("key")?.hasPrefix("swarm:s:board:") == true)
    }

    @Test("Of two presences of an agent, the end of one takes nobody down")
    func presences() throws {
        var swarm = try TestSwarm()
        try swarm.call(#"{"type":"swarm.join","swarm":"s","role":"coder"}"#, connection: 1)
        let second = try swarm.call(#"{"type":"swarm.join","swarm":"s","role":"coder"}"#, connection: 2)
        #expect(second.integer("position") == 0)
        func isPresent() throws -> Bool? {
            let agents = try swarm.call(#"{"type":"swarm.status","swarm":"s"}"#).array("agents")
            return try agents?.first.map { try JSONObject($0).bool("present") } ?? nil
        }
        swarm.disconnect(1)
        #expect(try isPresent() == true)
        swarm.disconnect(2)
        #expect(try isPresent() == false)
        #expect(try swarm.value("swarm:s:member:a")?.string("role") == "coder")
        try swarm.call(#"{"type":"swarm.leave","swarm":"s"}"#)
        #expect(try swarm.value("swarm:s:member:a") == nil)
        #expect(try swarm.call(#"{"type":"swarm.leave","swarm":"s"}"#).string("code") == "not_member")
    }

    @Test("The end of a swarm cancels its tasks, in portions, also across a restart")
    func end() throws {
        var limits = SwarmRules.Limits()
        limits.moves = 2
        var swarm = try TestSwarm(limits: limits)
        let tasks = (0..<7).map { #"{"id":"t\#($0)"}"# }.joined(separator: ",")
        try swarm.call(#"{"type":"task.submit","swarm":"s","tasks":[\#(tasks)]}"#)
        swarm.pass(1)
        _ = try swarm.call(#"{"type":"task.next","swarm":"s"}"#)
        #expect(try swarm.call(#"{"type":"swarm.end","swarm":"s"}"#).integer("cancelled") == 7)
        #expect(swarm.rules.live == 5)
        #expect(try swarm.call(#"{"type":"task.next","swarm":"s"}"#).string("code") == "absent")
        try swarm.restart()
        swarm.pass(1)
        #expect(try swarm.rules.live == 0 && swarm.value("swarm:s:config") == nil)
        #expect(try (0..<7).allSatisfy { try swarm.status("t\($0)") == "cancelled" })
        try swarm.call(#"{"type":"swarm.init","swarm":"s"}"#)
    }

    @Test("Names that would be other keys are escaped, and a swarm that is there is told of")
    func names() throws {
        var swarm = try TestSwarm(isMade: false)
        #expect(try swarm.call(#"{"type":"task.next","swarm":"a:b"}"#).string("code") == "absent")
        #expect(
            try swarm.call(#"{"type":"swarm.init","swarm":"a:b","topology":"hierarchical"}"#).bool("created") == true)
        #expect(try swarm.call(#"{"type":"swarm.init","swarm":"a:b"}"#).bool("created") == false)
        #expect(try swarm.call(#"{"type":"swarm.init","swarm":"a:b","topology":"ring"}"#).string("code") == "exists")
        #expect(
            try swarm.call(#"{"type":"swarm.init","swarm":"c","topology":"star"}"#).string("code") == "missing_field")
        try swarm.call(#"{"type":"task.submit","swarm":"a:b","tasks":[{"id":"100%:x"}]}"#)
        #expect(try swarm.value("swarm:a%3Ab:task:100%25%3Ax")?.string("task_id") == "100%:x")
    }

    @Test("There are no more tasks, and no more calls that wait, than there may be")
    func limits() throws {
        var limits = SwarmRules.Limits()
        limits.tasks = 3
        limits.tasksOfSwarm = 2
        limits.waiters = 1
        var swarm = try TestSwarm(limits: limits)
        try swarm.call(#"{"type":"swarm.init","swarm":"other"}"#)
        func submit(_ count: Int, to name: String) throws -> String? {
            let tasks = [String](repeating: "{}", count: count).joined(separator: ",")
            return try swarm.call(#"{"type":"task.submit","swarm":"\#(name)","tasks":[\#(tasks)]}"#).string("code")
        }
        #expect(try submit(3, to: "s") == "too_many_tasks" && submit(2, to: "s") == nil)
        #expect(try submit(2, to: "other") == "too_many_tasks" && submit(1, to: "other") == nil)
        for _ in 0..<2 { _ = try swarm.call(#"{"type":"task.next","swarm":"s"}"#) }
        try swarm.wait(#"{"type":"task.next","swarm":"s","wait":1}"#, connection: 1)
        let second = try swarm.call(#"{"type":"task.next","swarm":"s","wait":1}"#, connection: 2)
        #expect(second.string("code") == "too_many_waiters")
    }
}
