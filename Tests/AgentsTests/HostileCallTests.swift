import Access
import Agents
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

@Suite("What callers must not get away with")
struct HostileCallTests: CallWriting {
    @Test("Names whose longest key would be too long are refused at once, and so is a field that there is not")
    func longNames() throws {
        var swarm = try TestSwarm(isMade: false)
        let name = String(repeating: "%", count: 128)
        try swarm.call(#"{"type":"swarm.init","swarm":"\#(name)"}"#)
        for count in [107, 108, 115, 128] {
            let id = String(repeating: "x", count: count)
            let answer = try swarm.call(#"{"type":"task.submit","swarm":"\#(name)","tasks":[{"id":"\#(id)"}]}"#)
            #expect((answer.string("code") == "bad_key") == (count > 107), "\(count)")
        }
        #expect(throws: WireError.self) {
            try swarm.request(#"{"type":"task.submit","swarm":"s","tasks":[{"dependancies":["a"]}]}"#)
        }
    }

    @Test("A cascade reaches what its sender may change, all or nothing, and brings back what it had cancelled")
    func cascades() throws {
        var swarm = try TestSwarm()
        try swarm.call(
            submit(#"{"id":"a1"},{"id":"a2","dependencies":["a1"]},{"id":"b","dependencies":["a2"]},{"id":"own"}"#))
        let narrow = Grant(
            .token("t"), read: .everything,
            write: Scope(matching: [try Pattern("swarm:s:task:a*"), try Pattern("swarm:s:config")]))
        let cancel = #"{"type":"task.cancel","swarm":"s","task":"a1","cascade":true}"#
        #expect(try swarm.call(cancel, grant: narrow).string("code") == "forbidden")
        #expect(try swarm.status("a1") == "ready" && swarm.status("b") == "pending")
        try swarm.call(cancel)
        try swarm.call(#"{"type":"task.cancel","swarm":"s","task":"own"}"#)
        #expect(try swarm.status("a2") == "cancelled" && swarm.status("b") == "cancelled")
        try swarm.call(#"{"type":"task.retry","swarm":"s","task":"a1","cascade":true}"#)
        #expect(try swarm.status("a1") == "ready" && swarm.status("a2") == "pending" && swarm.status("b") == "pending")
        #expect(try swarm.status("own") == "cancelled")
    }

    @Test("A call that waits and is sent again takes the place of the first; another agent's op is another")
    func waitingAgain() throws {
        var swarm = try TestSwarm()
        let next = #"{"type":"task.next","id":3,"swarm":"s","lease":10,"wait":30,"op":"o"}"#
        try swarm.wait(next, agent: "c", connection: 2)
        try swarm.wait(next, agent: "c", connection: 3)
        #expect(swarm.takeLate(2).map { $0.string("type") } == ["none"])
        try swarm.call(submit(#"{"id":"t"},{"id":"u"}"#))
        #expect(try handed(#require(swarm.takeLate(3).first)).task == "t")
        #expect(try handed(swarm.call(next, agent: "d", connection: 4)).task == "u")
        #expect(try handed(swarm.call(next, agent: "c", connection: 5)).task == "t")
    }

    @Test("Where credentials say who somebody is, only the one that has a task ends it")
    func fixedNames() throws {
        var swarm = try TestSwarm()
        func worker(_ name: String) throws -> Grant {
            Grant(
                .token(name), read: .everything, write: Scope(matching: [try Pattern("swarm:s:task:*")]),
                agent: try Agent(name))
        }
        try swarm.call(submit(#"{"id":"t"}"#))
        let (_, fence) = try handed(swarm.call(next, agent: "ada", grant: worker("ada")))
        let stolen = try swarm.call(finish("t", fence), agent: "bob", connection: 2, grant: worker("bob"))
        #expect(stolen.string("code") == "forbidden")
        #expect(try swarm.call(finish("t", fence), agent: "ada", grant: worker("ada")).string("type") == "task")
    }

    @Test("A copy that is somebody else's is not written over; progress without a value keeps the last")
    func copies() throws {
        var swarm = try TestSwarm()
        try swarm.call(#"{"type":"broadcast","id":1,"key":"task:t:status","value":"mine"}"#)
        try swarm.call(#"{"type":"swarm.init","swarm":"other"}"#)
        try swarm.call(submit(#"{"id":"t"},{"id":"u"}"#))
        try swarm.call(#"{"type":"task.submit","swarm":"other","tasks":[{"id":"u","not_before":99999999}]}"#)
        #expect(try swarm.text("task:t:status") == "\"mine\"" && swarm.text("task:u:status") == "\"ready\"")
        let (_, fence) = try take(&swarm)
        try swarm.call(finish("t", fence, "progress", #","value":1"#))
        try swarm.call(finish("t", fence, "progress"))
        #expect(try swarm.text("swarm:s:task:t:progress") == "1")
    }
}
