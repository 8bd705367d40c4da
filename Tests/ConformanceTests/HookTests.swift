import Foundation
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Hooks, with the real server: what is kept of them, what they are told, and that nothing keeps them from an answer.
    struct HookTests {
        private static let agent = ["Starling-Agent": "ada"]

        private func hook(
            _ client: RESTClient, _ json: String, _ path: String = "/hooks", _ headers: [String: String] = agent
        ) throws -> RESTClient.Answer {
            let answer = try client.ask("POST", path, json, headers)
            #expect(answer.status == 200 && answer.headers["content-type"] == "application/json", "\(json): \(answer)")
            #expect((try? JSONObject(Array(answer.body.utf8))) != nil, "\(json): \(answer)")
            return answer
        }

        private func context(_ answer: RESTClient.Answer) -> String? {
            answer.json.object("hookSpecificOutput")?.string("additionalContext")
        }

        /// The lines of what is told, without the one that says what it is.
        private func lines(_ answer: RESTClient.Answer) throws -> [String] {
            guard let context = context(answer) else { return [] }
            let lines = context.split(separator: "\n").map(String.init)
            let first = try #require(lines.first)
            #expect(first.hasPrefix("From Starling, shared memory. This agent is ") && first.contains("no instruction"))
            return lines.dropFirst().map { $0.replacing(/\(\d{4}-\d\d-\d\d\)/, with: "(day)") }
        }

        private func event(_ name: String, _ more: String = "", session: String = "s1") -> String {
            #"{"hook_event_name":"\#(name)","session_id":"\#(session)","cwd":"/project","transcript_path":"/t"\#(more)}"#
        }

        private func edit(_ file: String, _ new: String, id: String = "t1") -> String {
            event(
                "PostToolUse",
                #","tool_name":"Edit","tool_use_id":"\#(id)","tool_input":{"file_path":"\#(file)","old_string":"a","new_string":"\#(new)"}"#
            )
        }

        private func value(_ client: RESTClient, _ key: String) throws -> JSONObject? {
            let answer = try client.ask("GET", "/v1/keys/\(RESTClient.escape(key))")
            return answer.status == 200 ? answer.json : nil
        }

        private func registers(_ client: RESTClient, _ pattern: String) throws -> [JSONObject] {
            let answer = try client.ask("GET", "/v1/keys?limit=1000&pattern=\(RESTClient.escape(pattern))")
            return try (answer.json.array("registers") ?? []).map { try JSONObject($0) }
        }

        @Test(
            "A session: what happened is kept, others are told of it, its summary is counted, and the next one begins with that"
        )
        func session() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            #expect(try hook(client, event("SessionStart", #","source":"startup""#)).body == "{}\n")
            #expect(try value(client, "session:s1:present")?.string("agent_id") == "ada")
            _ = try client.ask(
                "PUT", "/v1/memory/bob/jwt", #""use RS256 tokens for authentication""#, ["Starling-Session": "other"])
            _ = try client.ask(
                "PUT", "/v1/memory/ada/own", #""tokens, as this session says""#, ["Starling-Session": "s1"])
            let told = try hook(
                client,
                event("UserPromptSubmit", #","prompt":"Fix the pre-edit \"authentication\" of tokens NEAR( it""#))
            #expect(
                try self.lines(told) == [#"bob remembers jwt (day): "use RS256 tokens for authentication""#],
                "its own memories it knows")
            #expect(
                try hook(client, event("UserPromptSubmit", #","prompt":"authentication""#)).body == "{}\n", "once each")
            #expect(told.json.object("hookSpecificOutput")?.string("hookEventName") == "UserPromptSubmit")
            for _ in 0..<2 { #expect(try hook(client, edit("/project/a.swift", "b")).body == "{}\n") }
            #expect(try registers(client, "session:s1:edit:*").count == 1, "a resend is no second edit")
            let lines = (0..<12).map(String.init).joined(separator: "\\n")
            _ = try hook(client, edit("/project/b.swift", lines, id: "t2"))
            _ = try hook(client, event("PostToolUseFailure", #","tool_name":"Bash","error":"exit 1""#))
            _ = try hook(client, event("TaskCompleted", #","task_id":"7","task_subject":"tests""#))
            _ = try hook(client, event("Stop", #","last_assistant_message":"It is mended.""#))
            _ = try hook(client, event("SessionEnd", #","reason":"other""#))
            let summary = try #require(try value(client, "session:s1:summary"))
            let metrics = try #require(summary.object("metrics"))
            for (name, count) in ["prompts": 2, "edits": 2, "files": 2, "tool_failures": 1, "tasks_completed": 1]
                as [String: Int64]
            {
                #expect(metrics.integer(name) == count, "\(name)")
            }
            #expect(try value(client, "session:s1:present") == nil)
            let next = try hook(client, event("SessionStart", session: "s2"), "/hooks/SessionStart")
            #expect(
                try self.lines(next) == [
                    #"This agent's last session, s1: "2 edits of 2 files: /project/a.swift, /project/b.swift. 1 task completed. It is mended.""#
                ])
            // A session of which there is nothing to say takes the place of none, and what was said of others is found.
            _ = try hook(client, event("SessionEnd", session: "s2"))
            let third = try hook(client, event("SessionStart", session: "s3"))
            #expect(try self.lines(third).first?.hasPrefix("This agent's last session, s1: ") == true)
            let found = try hook(client, event("UserPromptSubmit", #","prompt":"what was mended?""#, session: "s3"))
            #expect(try self.lines(found).first?.hasPrefix("this agent remembers sessions/s1 (day): ") == true)
            let known = try client.ask("GET", "/v1/knowledge?topic=\(RESTClient.escape("file:/project/b.swift"))")
            #expect(
                known.body.contains("12 lines changed in session s1 by ada")
                    && known.body.contains(#""confidence":0.5"#))
        }

        @Test("The seed's hooks are answered as the seed's are: with the previous context, and in its names")
        func seed() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            _ = try client.ask("PUT", "/v1/memory/bob/migration-plan", #"{"step":1,"what":"database migration"}"#)
            let told = try hook(client, #"{"sessionId":"s1","taskId":"t","taskType":"migration"}"#, "/hooks/pre-task")
            let previous = try (told.json.array("previousContext") ?? []).map { try JSONObject($0) }
            #expect(
                previous.map { $0.string("key") } == ["migration-plan"]
                    && previous[0].object("value")?.integer("step") == 1)
            let changes = (0..<11).map { "\"line \($0)\"" }.joined(separator: ",")
            _ = try hook(
                client, #"{"sessionId":"s1","file":"x.js","agentId":"coder","changes":[\#(changes)]}"#,
                "/hooks/post-edit")
            let edits = try registers(client, "session:s1:edit:*")
            #expect(edits.count == 1 && edits[0].object("value")?.string("agent_id") == "coder")
            _ = try hook(client, #"{"sessionId":"s1"}"#, "/hooks/session-end")
            #expect(try value(client, "session:s1:summary")?.object("metrics")?.integer("edits") == 1)
            server.terminate()
            #expect(server.wait() == 0)
            let again = try ServerProcess(in: server.folder)
            let counted = try registers(try RESTClient(again), "learning:ada:*")
            #expect(counted.count == 2 && counted.contains { $0.object("value")?.integer("started") == 1 })
        }

        @Test(
            "Nothing of a secret is in the database, whatever it was done with, and nothing at all where nothing is to be kept"
        )
        func secrets() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            _ = try hook(client, edit("/project/.env", "hunter2"))
            _ = try hook(client, edit("/project/a.txt", "hunter2"), "/hooks?content=none")
            _ = try hook(client, event("UserPromptSubmit", #","prompt":"hunter2""#), "/hooks?content=none")
            let command = try ServerProcess.run(
                ["hook", "PostToolUse", "--url", server.url],
                input: edit("/home/a/.ssh/id_ed25519", "hunter2", id: "t9"))
            #expect(command.status == 0 && command.output.isEmpty, "\(command)")
            #expect(try registers(client, "session:**").count >= 4)
            server.terminate()
            #expect(server.wait() == 0)
            let exported = try ServerProcess.run(["export", "--data", server.database.path]).output
            #expect(exported.contains("session:s1:edit:t9") && !exported.contains("hunter2"))
        }

        /// What harnesses are known to send, and what may come of it.
        private static let recorded = Repository.file("Tests/ConformanceTests/Hooks")

        @Test("Every event that is known, as it is sent, and one that does not exist, are answered, and decide nothing")
        func events() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            let lines = try String(contentsOf: Self.recorded.appending(path: "events.jsonl"), encoding: .utf8).split(
                separator: "\n")
            #expect(lines.count >= 38)
            for line in lines {
                let answer = try hook(client, String(line))
                #expect(answer.headers["starling-degraded"] == nil, "\(line): \(answer)")
                for word in ["decision", "continue", "permission", "stopReason"] {
                    #expect(!answer.body.contains(word))
                }
            }
            let metrics = try HTTP.get("/metrics", server)
            #expect(metrics.contains("starling_hook_records_dropped_total{reason=\"forbidden\"} 0"))
        }

        @Test("What is no event is answered too, and said; more than there may be is, and so is who may not")
        func refusals() throws {
            let access = try AccessFixture()
            try access.add("worker", read: ["session:*"], write: ["session:mine:*"])
            let server = try access.start()
            let client = try RESTClient(server, token: access.tokens["worker"])
            for (json, path, reason) in [
                ("", "/hooks", "bad_json"), ("[]", "/hooks", "bad_json"), ("{}", "/hooks", "no_event"),
                (#"{"hook_event_name":"Stop"}"#, "/hooks", "no_session"), (event("Stop"), "/hooks?x=1", "bad_message"),
                (event("PreCompact"), "/hooks", "forbidden; key=session:s1:log:"),
                (event("Stop", #","last_assistant_message":"x""#), "/hooks", "forbidden"),
            ] {
                let answer = try hook(client, json, path)
                #expect(
                    answer.headers["starling-degraded"]?.hasPrefix(reason) == true && answer.body == "{}\n",
                    "\(json) \(path): \(answer)"
                )
            }
            let allowed = try hook(client, event("PreCompact", session: "mine"))
            #expect(allowed.headers["starling-degraded"] == nil, "\(allowed)")
            for token in [nil, "stl.worker.guess"] {
                let answer = try hook(try RESTClient(server, token: token), event("PreCompact"))
                #expect(answer.headers["starling-degraded"] == "unauthorized")
            }
            let large = try RESTClient(server, token: access.tokens["worker"])
            try large.send("POST", "/hooks", nil, ["Content-Length": "\(5 << 20)"])
            let answer = try large.answer()
            #expect(answer.status == 200 && answer.body == "{}\n" && answer.headers["starling-degraded"] == "too_large")
            let foreign = try RESTClient(server).ask("POST", "/hooks", "{}", ["Origin": "https://evil.example"])
            #expect(foreign.status == 403, "past the one check of every route, and not before it")
            let metrics = try RESTClient(server).ask("GET", "/metrics").body
            #expect(metrics.contains("starling_hook_records_dropped_total{reason=\"forbidden\"}"))
        }

        @Test("A hook tells nobody of what its token may not read, in context, in counts and in claims neither")
        func access() throws {
            let access = try AccessFixture()
            try access.add("all", read: ["*"], write: ["*"])
            try access.add("narrow", read: ["memory:bob:*", "session:*"], write: ["session:*", "memory:ada:*"])
            let server = try access.start()
            let all = try RESTClient(server, token: access.tokens["all"])
            _ = try all.ask("PUT", "/v1/memory/eve/secret", #""tokens of eve""#)
            _ = try all.ask("PUT", "/v1/memory/bob/open", #""tokens of bob""#)
            _ = try all.ask("POST", "/v1/knowledge", #"{"topic":"tokens","content":"tokens are hidden"}"#)
            _ = try all.ask(
                "POST", "/v1/claims/\(RESTClient.escape("file:/project/a.swift"))", #"{"ttl":60}"#,
                ["Starling-Agent": "eve"])
            let prompt = event("UserPromptSubmit", #","prompt":"tokens""#)
            let narrow = try RESTClient(server, token: access.tokens["narrow"])
            #expect(try lines(hook(narrow, prompt)) == [#"bob remembers open (day): "tokens of bob""#])
            #expect(try hook(narrow, edit("/project/a.swift", "b")).body == "{}\n")
            for file in ["/project/a.swift", "a.swift", "/project/x/../a.swift"] {
                let told = try lines(hook(all, edit(file, "b", id: "t2")))
                #expect(told == ["eve has claimed /project/a.swift, and may be changing it"], "\(file)")
            }
            #expect(try context(hook(all, prompt))?.contains("eve") == true)
        }

        @Test("Who may nothing silences no other's session, limits count, and a trial leaves nothing")
        func limits() throws {
            let access = try AccessFixture()
            try access.add("ada", read: ["*"], write: ["*"])
            try access.add("eve", read: ["swarm:zz:*"], write: ["swarm:zz:*"])
            for (name, limit) in [("few", #"{"keys":5}"#), ("slow", #"{"bytes_per_second":2000}"#)] {
                try access.add(name, read: ["*"], write: ["*"]) {
                    $0.limits = try? JSONDecoder().decode(AccessFile.Limits.self, from: Data(limit.utf8))
                }
            }
            let server = try access.start()
            func client(_ name: String) throws -> RESTClient { try RESTClient(server, token: access.tokens[name]) }
            let (ada, eve) = (try client("ada"), try client("eve"))
            for name in ["PreCompact", "Stop", "SessionEnd", "UserPromptSubmit"] { _ = try hook(eve, event(name)) }
            _ = try hook(ada, event("Stop"))
            #expect(try value(ada, "session:s1:present") != nil, "somebody else's hook is none of this session's")
            let few = try client("few")
            for number in 0..<8 {
                let failure = event("StopFailure", #","task_type":"t\#(number)""#, session: "f")
                let answer = try hook(few, failure).headers["starling-degraded"]
                #expect(answer == nil || answer?.hasPrefix("too_many_keys") == true && number > 0, "\(number)")
            }
            let large = edit("/a", String(repeating: "x", count: 100_000))
            let slow = try client("slow")
            let answers = try (0..<4).map { _ in try hook(slow, large).headers["starling-degraded"] }
            #expect(answers.last == "rate_limited", "\(answers)")
            let lines = (0..<20).map(String.init).joined(separator: "\\n")
            let before = try registers(ada, "**").count
            for name in ["UserPromptSubmit", "Stop", "SessionEnd", "PreCompact", "SessionStart"] {
                let trial = event(
                    name, #","trial":true,"prompt":"lines","last_assistant_message":"x""#, session: "trial")
                #expect(try hook(ada, trial).headers["starling-degraded"] == nil)
                #expect(try hook(eve, trial).headers["starling-degraded"]?.hasPrefix("forbidden; key=") == true)
            }
            let trial = edit("/trial", lines).replacing(#""cwd""#, with: #""trial":true,"cwd""#)
            #expect(try hook(ada, trial).body == "{}\n")
            #expect(try registers(ada, "**").count == before)
            server.terminate()
            #expect(server.wait() == 0)
            let exported = try ServerProcess.run(["export", "--data", server.database.path]).output
            #expect(exported.contains("learning:ada:prompt:") || exported.contains("learning:"))
            #expect(!exported.contains(":t1:"), "what the server counts is no way around a limit on keys")
        }

        @Test("What is told is kept, also of who waits for no answer")
        func unheard() throws {
            let server = try ServerProcess()
            for number in 0..<50 {
                let client = try RESTClient(server)
                try client.send(
                    "POST", "/hooks", event("Stop", #","last_assistant_message":"x""#, session: "u\(number)"))
            }
            let reader = try RESTClient(server)
            try ServerProcess.until { try registers(reader, "session:*:last").count == 50 ? true : nil }
        }

        @Test("What takes a while to read holds nobody up, and a session with many records ends in one summary")
        func large() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            let ones = Array(repeating: "1", count: 500_000).joined(separator: ",")
            let names = (0..<50_000).map { #""\#($0)":1"# }.joined(separator: ",")
            for odd in [
                #"{"hook_event_name":"PostToolUse","session_id":"s","file":"/a","changes":[\#(ones)]}"#,
                event("UserPromptSubmit", #","prompt":"\#(String(repeating: #"\u00e9 "#, count: 100_000))""#),
                #"{"hook_event_name":"PreCompact","session_id":"s",\#(names)}"#,
            ] { #expect(try hook(client, odd).headers["starling-degraded"] ?? "late" == "late") }
            try ServerProcess.until { try registers(client, "session:s:edit:*").count == 1 ? true : nil }
            let edits = try registers(client, "session:s:edit:*")
            #expect(edits[0].object("value")?.integer("change_count") == 500_000)
            let root = try RawClient.connected(server)
            for batch in 0..<12 {
                let writes = (0..<250).map {
                    #"{"key":"session:many:log:\#(batch)-\#($0)","value":{"event":"completed"}}"#
                }
                try root.send(#"{"type":"batch","id":1,"writes":[\#(writes.joined(separator: ","))]}"#)
                _ = try root.receive(type: "batched")
            }
            _ = try hook(client, event("SessionEnd", session: "many"))
            let summary = try ServerProcess.until { try value(client, "session:many:summary") }
            #expect(summary.object("metrics")?.integer("tasks_completed") == 3_000 && summary.raw("complete") == nil)
        }

        @Test(
            "With a full disk, and with commits that stand still, a hook is answered soon, and what it lost is counted")
        func broken() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let faults = try Faults()
            let server = try ServerProcess(in: folder, environment: faults.environment)
            let client = try RESTClient(server)
            _ = try hook(client, event("PreCompact"))
            faults.failWrites(ENOSPC)
            let full = try hook(client, event("PreCompact"))
            let reason = try #require(full.headers["starling-degraded"]?.split(separator: ";").first.map(String.init))
            #expect(full.body == "{}\n" && ["storage_failed", "outcome_unknown"].contains(reason), "\(full)")
            let metrics = try HTTP.get("/metrics", server)
            #expect(metrics.contains("starling_hook_records_dropped_total{reason=\"\(reason)\"} 1"))
            faults.failWrites(0)
            try ServerProcess.until { try HTTP.get("/readyz", server).hasSuffix("ready\n") ? true : nil }
            faults.delaySyncs(20_000)
            for json in [
                event("PreCompact"), edit("/project/a", "b"), event("Stop", #","last_assistant_message":"x""#),
            ] {
                let late = try hook(try RESTClient(server), json)
                #expect(late.body == "{}\n" && late.headers["starling-degraded"] == "late", "\(late)")
            }
            faults.delaySyncs(0)
            // What was late is not lost.
            try ServerProcess.until { try value(client, "session:s1:last") != nil ? true : nil }
            #expect(try registers(client, "session:s1:edit:*").count == 1)
        }

        @Test("Unread messages are told once each, and the tasks that an agent has, where a swarm is named")
        func swarm() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            let run = { (arguments: [String], input: String) in
                try ServerProcess.run(arguments + ["--url", server.url], input: input)
            }
            _ = try run(["swarm", "init", "s"], "")
            let ada = try RawClient.connected(server)
            for message in [
                #"{"type":"hello","agent":"ada"}"#, #"{"type":"swarm.join","id":1,"swarm":"s"}"#,
                #"{"type":"task.submit","id":2,"swarm":"s","tasks":[{"id":"build"}]}"#,
                #"{"type":"task.next","id":3,"swarm":"s"}"#,
            ] { try ada.send(message) }
            _ = try ada.receive(type: "task")
            let bob = try RawClient.connected(server)
            for message in [
                #"{"type":"hello","agent":"bob"}"#, #"{"type":"swarm.join","id":1,"swarm":"s"}"#,
                #"{"type":"message.send","id":2,"swarm":"s","to":"ada","body":"hello"}"#,
            ] { try bob.send(message) }
            _ = try bob.receive(type: "sent")
            let start = try lines(hook(client, event("SessionStart"), "/hooks?swarm=s"))
            #expect(
                start == [
                    "This agent has these tasks of swarm s under way: build", "1 new message to this agent in swarm s:",
                    #"from bob: "hello""#,
                ])
            let prompt = event("UserPromptSubmit", #","prompt":"go on""#)
            #expect(try lines(hook(client, prompt, "/hooks?swarm=s")).isEmpty)
            for message in [
                #"{"type":"message.send","id":3,"swarm":"s","to":"ada","body":{"text":"again"}}"#,
                #"{"type":"message.send","id":4,"swarm":"s","board":true,"body":"to all"}"#,
            ] { try bob.send(message) }
            for _ in 0..<2 { _ = try bob.receive(type: "sent") }
            #expect(
                try lines(hook(client, prompt, "/hooks?swarm=s")) == [
                    "1 new message to this agent in swarm s:", #"from bob: "text again""#,
                    "1 new message to all in swarm s:", #"from bob: "to all""#,
                ])
        }
    }
}
