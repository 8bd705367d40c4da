import Access
import Agents
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

@Suite("Tasks")
struct TaskTests: CallWriting {
    // MARK: The way of a task

    @Test("A task goes to one agent, with its input, and is completed once")
    func oneTask() throws {
        var swarm = try TestSwarm()
        let made = try swarm.call(submit(#"{"id":"t","input":{"x":1}}"#))
        #expect(made.array("ids")?.count == 1 && made.integer("ready") == 1)
        let answer = try swarm.call(next)
        let fence = try handed(answer).fence
        #expect(answer.raw("input").map { String(decoding: $0, as: UTF8.self) } == #"{"x":1}"#)
        #expect(try swarm.status("t") == "working")
        #expect(try swarm.value("swarm:s:task:t:claim")?.integer("fence") == fence)
        #expect(try swarm.call(next, agent: "b", connection: 2).string("type") == "none")
        let done = try swarm.call(finish("t", fence, "complete", #","result":[2]"#))
        #expect(done.object("task")?.string("status") == "completed")
        #expect(try swarm.text("swarm:s:task:t:result") == "[2]" && swarm.text("task:t:status") == "\"completed\"")
        #expect(try swarm.disk.committed[Key("swarm:s:task:t:claim")]?.register.isTombstone == true)
        // Sent again it is answered as before; under another fence it is refused.
        #expect(try swarm.call(finish("t", fence)).object("task")?.string("status") == "completed")
        #expect(try swarm.call(finish("t", fence + 1)).string("code") == "stale_fence")
        #expect(try swarm.call(finish("t", fence, "fail")).string("code") == "stale_fence")
    }

    @Test("What depends on a task is ready in the commit of the last dependency")
    func dependencies() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"c","dependencies":["a","b"]},{"id":"a"},{"id":"b"}"#))
        let first = try take(&swarm)
        let second = try take(&swarm)
        #expect(Set([first.task, second.task]) == ["a", "b"])
        try swarm.call(finish(first.task, first.fence))
        #expect(try swarm.status("c") == "pending")
        let head = swarm.disk.head
        try swarm.call(finish(second.task, second.fence))
        #expect(try swarm.status("c") == "ready")
        let stored = try swarm.disk.committed[Key("swarm:s:task:c")]
        #expect(try #require(stored).revision > head)
        #expect(try take(&swarm).task == "c")
    }

    @Test("Higher priority first, then in the order of the submission; aging lets a task overtake")
    func order() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"l"},{"id":"h","priority":5},{"id":"m","priority":1},{"id":"l2"}"#))
        #expect(try (0..<4).map { _ in try take(&swarm).task } == ["h", "m", "l", "l2"])
        var aging = try TestSwarm(isMade: false)
        try aging.call(#"{"type":"swarm.init","swarm":"s","aging":1}"#)
        try aging.call(submit(#"{"id":"old"}"#))
        aging.pass(5_000)
        try aging.call(submit(#"{"id":"new","priority":4},{"id":"newest","priority":6}"#))
        #expect(try (0..<3).map { _ in try take(&aging).task } == ["newest", "old", "new"])
    }

    @Test(
        "A submission with a cycle, with itself or with what there is not is refused as a whole, and the path is named")
    func cycles() throws {
        var swarm = try TestSwarm()
        func code(_ tasks: String) throws -> (String?, String) {
            let answer = try swarm.call(submit(tasks))
            return (answer.string("code"), answer.string("message") ?? "")
        }
        let (cycle, path) = try code(
            #"{"id":"x"},{"id":"a","dependencies":["c","x"]},{"id":"b","dependencies":["a"]},{"id":"c","dependencies":["b"]}"#
        )
        #expect(cycle == "cycle" && path.contains("a → c → b → a"), "\(path)")
        #expect(try code(#"{"id":"a","dependencies":["a"]}"#).0 == "cycle")
        let (missing, name) = try code(#"{"id":"a","dependencies":["nothing"]}"#)
        #expect(missing == "missing_dependency" && name.contains("nothing"))
        #expect(try code(#"{"id":"a"},{"id":"a"}"#).0 == "bad_message")
        #expect(try swarm.status("a") == nil && swarm.status("x") == nil && swarm.rules.live == 0)
        try swarm.call(submit(#"{"id":"a"}"#))
        #expect(try code(#"{"id":"b"},{"id":"a"}"#).0 == "exists")
        try swarm.call(submit(#"{"id":"b","dependencies":["a"]},{"id":"c","dependencies":["b"]}"#))
        let depend = try swarm.call(#"{"type":"task.depend","swarm":"s","task":"a","on":["c"]}"#)
        #expect(depend.string("code") == "cycle")
        #expect(depend.string("message")?.contains("a → c → b → a") == true, "\(depend.members)")
    }

    // MARK: Waiting

    @Test("A task that becomes ready goes to the one that has waited longest, and to nobody else")
    func waiting() throws {
        var swarm = try TestSwarm()
        try swarm.wait(waitingNext, agent: "b", connection: 2)
        swarm.pass(10)
        try swarm.wait(waitingNext, agent: "c", connection: 3)
        try swarm.call(submit(#"{"id":"t"}"#))
        let answers = swarm.takeLate(2)
        #expect(answers.count == 1 && swarm.takeLate(3).isEmpty)
        #expect(try handed(answers[0]).task == "t")
        #expect(try swarm.value("swarm:s:task:t")?.string("agent_id") == "b")
        swarm.pass(30_000)
        #expect(swarm.takeLate(3).map { $0.string("type") } == ["none"])
        #expect(swarm.rules.waiting == 0)
    }

    @Test("Two that look for a task in one commit get two")
    func overlay() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t1"},{"id":"t2"},{"id":"t3"}"#))
        let answers = swarm.commit(
            try (1...4).map { try swarm.request(next, agent: "a\($0)", connection: $0) })
        let tasks = answers.map { $0?.object("task")?.string("task_id") }
        #expect(tasks == ["t1", "t2", "t3", nil])
    }

    @Test("A task that was handed to nobody goes back, and is not counted")
    func giveBack() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t"}"#))
        let (_, fence) = try take(&swarm)
        let claim = try Key("swarm:s:task:t:claim")
        swarm.ask(.giveBack(.init(key: claim, fence: Fence(UInt64(fence) + 1))))
        #expect(try swarm.status("t") == "working")
        swarm.ask(.giveBack(.init(key: claim, fence: Fence(UInt64(fence)))))
        #expect(try swarm.status("t") == "ready" && swarm.value("swarm:s:task:t")?.integer("attempt") == 0)
    }

    @Test("A call that waits is withdrawn with its connection, or by its id; one of a connection waits")
    func withdrawal() throws {
        var swarm = try TestSwarm()
        try swarm.wait(waitingNext, connection: 2)
        #expect(try swarm.call(waitingNext, connection: 2).string("code") == "too_many_waiters")
        swarm.disconnect(2)
        #expect(swarm.rules.waiting == 0 && swarm.takeLate(2).isEmpty)
        try swarm.wait(waitingNext, connection: 3)
        swarm.ask(.withdraw(RequestID(json: Array("3".utf8)), isAnswered: true), connection: 3)
        #expect(swarm.takeLate(3).map { $0.string("type") } == ["none"])
        try swarm.call(submit(#"{"id":"t"}"#))
        #expect(try swarm.status("t") == "ready")
    }

    @Test("Capabilities, and whom a task is meant for while that one is there")
    func fitting() throws {
        var swarm = try TestSwarm()
        try swarm.call(#"{"type":"swarm.join","swarm":"s"}"#, agent: "b", connection: 2)
        try swarm.call(submit(#"{"id":"gpu","capabilities":["gpu"]},{"id":"own","agent_id":"b"}"#))
        #expect(try swarm.call(next).string("type") == "none")
        try swarm.wait(waitingNext)
        swarm.disconnect(2)
        #expect(try handed(#require(swarm.takeLate(1).first)).task == "own")
        let capable = #"{"type":"task.next","swarm":"s","capabilities":["cpu","gpu"]}"#
        #expect(try handed(swarm.call(capable)).task == "gpu")
    }

    // MARK: Losing a task

    @Test("A lost claim and the task's return are one commit; it rests, and fails at the third time")
    func lost() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t"}"#))
        for attempt in 1...3 {
            let (_, fence) = try take(&swarm)
            #expect(try swarm.value("swarm:s:task:t")?.integer("attempt") == Int64(attempt))
            swarm.pass(10_000)
            #expect(try swarm.call(finish("t", fence)).string("code") == "stale_fence")
            if attempt < 3 {
                #expect(try swarm.status("t") == "pending")
                swarm.pass(1_000 << UInt64(attempt) - 1)
                #expect(try swarm.status("t") == "pending")
                swarm.pass(1)
                #expect(try swarm.status("t") == "ready")
            }
        }
        #expect(try swarm.status("t") == "failed")
        #expect(try swarm.value("swarm:s:task:t")?.string("reason")?.contains("3 attempts") == true)
    }

    @Test("What is held until disconnect is back when the connection is gone; at a restart it is not counted")
    func disconnected() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t"}"#))
        let untilDisconnect = #"{"type":"task.next","swarm":"s","until":"disconnect"}"#
        _ = try swarm.call(untilDisconnect, connection: 2)
        swarm.disconnect(2)
        #expect(try swarm.status("t") == "pending" && swarm.value("swarm:s:task:t")?.integer("attempt") == 1)
        swarm.pass(2_000)
        _ = try swarm.call(untilDisconnect, connection: 3)
        try swarm.restart()
        #expect(try swarm.status("t") == "ready" && swarm.value("swarm:s:task:t")?.integer("attempt") == 1)
    }

    @Test("Progress renews the lease; a plain renew and a plain release of the claim do as well")
    func leases() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t"}"#))
        let (_, fence) = try take(&swarm)
        swarm.pass(9_000)
        try swarm.call(finish("t", fence, "progress", #","value":{"percent":50}"#))
        #expect(try swarm.value("swarm:s:task:t:progress")?.integer("percent") == 50)
        swarm.pass(9_000)
        try swarm.call(#"{"type":"renew","id":1,"key":"swarm:s:task:t:claim","fence":\#(fence),"ttl":10}"#)
        swarm.pass(9_000)
        #expect(try swarm.status("t") == "working")
        try swarm.call(#"{"type":"release","id":1,"key":"swarm:s:task:t:claim","fence":\#(fence)}"#)
        #expect(try swarm.status("t") == "ready" && swarm.value("swarm:s:task:t")?.integer("attempt") == 0)
        #expect(try swarm.call(finish("t", fence, "progress")).string("code") == "stale_fence")
    }

    @Test("Release, park and resume, revoke, cancel and retry")
    func moves() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"t"}"#))
        var fence = try take(&swarm).fence
        try swarm.call(finish("t", fence, "release"))
        #expect(try swarm.status("t") == "ready")
        fence = try take(&swarm).fence
        try swarm.call(finish("t", fence, "park", #","reason":"waits for a key""#))
        #expect(
            try swarm.status("t") == "parked" && swarm.value("swarm:s:task:t")?.string("reason") == "waits for a key")
        #expect(try swarm.call(next).string("type") == "none")
        func move(_ verb: String) throws -> JSONObject {
            try swarm.call(#"{"type":"task.\#(verb)","swarm":"s","task":"t"}"#)
        }
        #expect(try move("retry").string("code") == "not_ready" && move("revoke").string("code") == "not_ready")
        _ = try move("resume")
        let before = try take(&swarm).fence
        _ = try move("revoke")
        fence = try take(&swarm).fence
        #expect(fence > before)
        #expect(try swarm.call(finish("t", before)).string("code") == "stale_fence")
        _ = try move("cancel")
        #expect(try swarm.status("t") == "cancelled" && swarm.call(finish("t", fence)).string("code") == "stale_fence")
        _ = try move("retry")
        #expect(try swarm.status("t") == "ready")
        #expect(try swarm.call(#"{"type":"task.cancel","swarm":"s","task":"nothing"}"#).string("code") == "absent")
    }

    // MARK: Failed dependencies

    @Test(
        "What depends on a task that failed waits, is cancelled or goes on, as it says; a retry puts back what the failure had counted"
    )
    func policies() throws {
        var swarm = try TestSwarm()
        try swarm.call(
            submit(
                #"{"id":"d"},{"id":"other","not_before":2000},{"id":"block","dependencies":["d"]},"#
                    + #"{"id":"cancel","dependencies":["d"],"on_dependency_failure":"cancel"},"#
                    + #"{"id":"after","dependencies":["cancel"],"on_dependency_failure":"cancel"},"#
                    + #"{"id":"run","dependencies":["d"],"on_dependency_failure":"run"},"#
                    + #"{"id":"both","dependencies":["d","other"],"on_dependency_failure":"run"}"#))
        let fence = try take(&swarm).fence
        try swarm.call(finish("d", fence, "fail", #","error":"no""#))
        #expect(try swarm.text("swarm:s:task:d:result") == "\"no\"")
        #expect(try swarm.status("block") == "pending" && swarm.status("run") == "ready")
        #expect(try swarm.status("cancel") == "cancelled" && swarm.status("after") == "cancelled")
        let status = try swarm.call(#"{"type":"swarm.status","swarm":"s"}"#)
        #expect(status.array("blocked")?.count == 1)
        func retry(_ task: String, _ rest: String = "") throws -> JSONObject {
            try swarm.call(#"{"type":"task.retry","swarm":"s","task":"\#(task)"\#(rest)}"#)
        }
        #expect(try retry("cancel").string("code") == "not_ready")
        _ = try retry("d")
        #expect(try swarm.status("cancel") == "cancelled" && swarm.status("run") == "ready")
        swarm.pass(2_000_000)
        let other = try [take(&swarm), take(&swarm), take(&swarm)]
        #expect(Set(other.map(\.task)) == ["run", "d", "other"])
        try swarm.call(finish("other", try #require(other.first { $0.task == "other" }).fence))
        #expect(try swarm.status("both") == "pending", "what has not begun waits for the retried one again")
        let again = try #require(other.first { $0.task == "d" }).fence
        try swarm.call(finish("d", again, "fail"))
        _ = try retry("d", #","cascade":true"#)
        #expect(try swarm.status("cancel") == "pending" && swarm.status("after") == "pending")
    }

    // MARK: Being sent again

    @Test("A submission that is sent again with its op makes nothing twice, also after a restart")
    func ops() throws {
        var swarm = try TestSwarm()
        let text = submit(#"{"input":1},{"input":2}"#, op: "o")
        let first = try swarm.call(text)
        let ids = try #require(first.array("ids"))
        #expect(try swarm.call(text).array("ids") == ids && swarm.rules.live == 2)
        #expect(try swarm.call(submit(#"{"input":3}"#, op: "o")).string("code") == "bad_message")
        try swarm.restart()
        #expect(try swarm.call(text).array("ids") == ids && swarm.rules.live == 2)
        let next = #"{"type":"task.next","swarm":"s","lease":10,"op":"n"}"#
        let handed = try swarm.call(next)
        let repeated = try swarm.call(next, connection: 9)
        #expect(repeated.integer("fence") == handed.integer("fence") && repeated.raw("input") == handed.raw("input"))
        swarm.pass(10_000)
        let new = try swarm.call(next)
        #expect(new.string("type") == "task" && new.integer("fence") != handed.integer("fence"))
    }

    @Test("A commit that fails takes back what was handed out in it, and those who wait go on waiting")
    func failedCommit() throws {
        var swarm = try TestSwarm()
        try swarm.call(submit(#"{"id":"a"},{"id":"b","dependencies":["a"]}"#))
        let fence = try take(&swarm).fence
        try swarm.wait(waitingNext, agent: "b", connection: 2)
        swarm.disk.fault = .put
        #expect(try swarm.call(finish("a", fence)).string("code") == "storage_failed")
        swarm.disk.fault = .none
        #expect(try swarm.status("a") == "working" && swarm.takeLate(2).isEmpty && swarm.rules.waiting == 1)
        swarm.disk.fault = .commitKept
        #expect(try swarm.call(finish("a", fence)).string("code") == "outcome_unknown")
        swarm.disk.fault = .none
        #expect(try swarm.call(finish("a", fence)).object("task")?.string("status") == "completed")
        // It was made, and nobody could be told of the task that it handed out: it is back by the lease.
        swarm.pass(10_000)
        #expect(swarm.rules.live == 1)
    }
}
