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

    @Test(
        "An op that a waiting call has is no other call's, in another swarm neither, and a call that is refused ends nobody's wait"
    )
    func opsOfOthers() throws {
        var swarm = try TestSwarm()
        try swarm.call(#"{"type":"swarm.init","swarm":"z"}"#)
        let next = #"{"type":"task.next","id":3,"swarm":"s","lease":10,"wait":30,"op":"o"}"#
        try swarm.wait(next, agent: "c", connection: 2)
        for other in ["s\",\"lease\":20", "z\",\"lease\":10"] {
            let text = #"{"type":"task.next","id":4,"wait":30,"op":"o","swarm":"\#(other)}"#
            let answer = try swarm.call(text, agent: "c", connection: 3)
            #expect(answer.string("message")?.contains("this op is that of another request") == true, "\(answer)")
        }
        #expect(swarm.takeLate(2).isEmpty)
        // The same from a connection that waits there already.
        try swarm.wait(#"{"type":"task.next","id":5,"swarm":"s","wait":30}"#, agent: "c", connection: 3)
        #expect(try swarm.call(next, agent: "c", connection: 3).string("code") == "too_many_waiters")
        #expect(swarm.takeLate(2).isEmpty, "the first one waits on")
    }

    @Test("Refusals name no task that their reader may not read, and say of none whether it is there")
    func namesInRefusals() throws {
        var swarm = try TestSwarm()
        let chain = (1...3).map { #"{"id":"secret\#($0)","dependencies":["\#($0 == 1 ? "a" : "secret\($0 - 1)")"]}"# }
        try swarm.call(
            submit(#"{"id":"a"},"# + chain.joined(separator: ",") + #",{"id":"known","dependencies":["secret3"]}"#))
        func scope(_ patterns: [String]) throws -> Scope { Scope(matching: try patterns.map { try Pattern($0) }) }
        let visible = ["swarm:s:task:a", "swarm:s:task:known", "swarm:s:config"]
        let grant = Grant(.token("t"), read: try scope(visible), write: try scope(visible))
        for call in [
            #"{"type":"task.cancel","swarm":"s","task":"a","cascade":true}"#,
            #"{"type":"task.depend","swarm":"s","task":"a","on":["known"]}"#,
        ] {
            let refused = try swarm.call(call, grant: grant)
            let message = try #require(refused.string("message"))
            #expect(refused.string("type") == "error" && !message.contains("secret"), "\(message)")
        }
        let answers = try ["secret1", "nothing"].map { name in
            try swarm.call(#"{"type":"task.depend","swarm":"s","task":"a","on":["\#(name)"]}"#, grant: grant)
        }
        #expect(answers.map { $0.string("code") } == ["forbidden", "forbidden"])
    }

    @Test("A cascade over tasks that depend on many reaches fewer of them")
    func heavyCascades() throws {
        var limits = SwarmRules.Limits()
        limits.moves = 20
        var swarm = try TestSwarm(limits: limits)
        let many = (0..<64).map { "l\($0)" }
        try swarm.call(submit(many.map { #"{"id":"\#($0)"}"# }.joined(separator: ",") + #",{"id":"root"}"#))
        let on = (["root"] + many).map { "\"\($0)\"" }.joined(separator: ",")
        try swarm.call(submit((0..<10).map { #"{"id":"d\#($0)","dependencies":[\#(on)]}"# }.joined(separator: ",")))
        swarm.pass(1)
        let cancel = #"{"type":"task.cancel","swarm":"s","task":"root","cascade":true}"#
        #expect(try swarm.call(cancel).string("code") == "too_many_tasks")
        #expect(try swarm.status("root") == "ready" && swarm.status("d0") == "pending")
        for number in 0..<5 { try swarm.call(#"{"type":"task.cancel","swarm":"s","task":"d\#(number)"}"#) }
        try swarm.call(cancel)
        #expect(try swarm.status("d9") == "cancelled")
    }

    @Test("Who joins again stays what it was, but for what it says anew")
    func joiningAgain() throws {
        var swarm = try TestSwarm()
        let join = #"{"type":"swarm.join","swarm":"s","ttl":60,"presence":"p""#
        try swarm.call(join + #","role":"writer","capabilities":["py"]}"#)
        try swarm.call(join + "}")
        let key = "swarm:s:member:a"
        #expect(try swarm.value(key)?.string("role") == "writer")
        #expect(try swarm.value(key)?.array("capabilities")?.count == 1)
        try swarm.call(join + #","role":"reader","capabilities":[]}"#)
        #expect(try swarm.value(key)?.string("role") == "reader")
        #expect(try swarm.value(key)?.array("capabilities")?.isEmpty == true)
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
