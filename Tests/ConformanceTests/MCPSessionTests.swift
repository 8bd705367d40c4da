import Foundation
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Clients that begin with `initialize`, and what they have until they end it.
    struct MCPSessionTests {
        private func stream(_ server: ServerProcess, _ client: MCPClient, after id: String? = nil) throws -> MCPClient {
            let stream = try MCPClient(server)
            var headers = client.sessionHeaders
            headers["Content-Type"] = nil
            headers["Last-Event-ID"] = id
            try stream.rest.send("GET", "/mcp", nil, headers)
            #expect(try stream.rest.answer().status == 200)
            return stream
        }

        /// What the next update is about; the list of resources may have changed meanwhile.
        private func uri(_ stream: MCPClient) throws -> String? {
            while let event = try stream.rest.event() {
                if let uri = event.json.object("params")?.string("uri") { return uri }
            }
            return nil
        }

        @Test("Rule 25: a session belongs to the grant that made it: to others there is none, whatever they ask")
        func ownership() throws {
            let access = try AccessFixture()
            for id in ["ada", "bob"] { try access.add(id, read: ["**"], write: ["**"]) }
            let server = try access.start()
            let mine = try MCPClient.begun(server, token: access.tokens["ada"])
            let other = try RESTClient(server, token: access.tokens["bob"])
            let ping = #"{"jsonrpc":"2.0","id":1,"method":"ping"}"#
            #expect(try other.ask("POST", "/mcp", ping, mine.sessionHeaders).status == 404)
            var headers = mine.sessionHeaders
            headers["Content-Type"] = nil
            #expect(try other.ask("GET", "/mcp", nil, headers).status == 404)
            #expect(try other.ask("DELETE", "/mcp", nil, headers).status == 404)
            #expect(
                try other.ask(
                    "POST", "/mcp", #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
                    mine.sessionHeaders
                ).status == 404)
            #expect(try RESTClient(server).ask("POST", "/mcp", ping, mine.sessionHeaders).status == 401)
            #expect(try mine.ask("ping").status == 200)
            let own = try RESTClient(server, token: access.tokens["ada"])
            #expect(try own.ask("DELETE", "/mcp", nil, headers).status == 204)
            #expect(try own.ask("DELETE", "/mcp", nil, headers).status == 404)
            #expect(try mine.ask("ping").status == 404)
        }

        @Test("What a client missed it is told again by Last-Event-ID; of what nobody knows any more, all is told")
        func replay() throws {
            let server = try ServerProcess()
            let client = try MCPClient.begun(server)
            let writer = try MCPClient(server)
            #expect(try client.ask("resources/subscribe", #""uri":"starling://keys/a:*""#).json.object("result") != nil)
            // Before there is a stream.
            _ = try writer.call("key_write", #"{"key":"a:0","value":1}"#)
            let first = try stream(server, client)
            let event = try #require(try first.rest.event())
            #expect(event.json.object("params")?.string("uri") == "starling://keys/a:0")
            _ = try writer.call("key_write", #"{"key":"a:1","value":1}"#)
            #expect(try uri(first) == "starling://keys/a:1")
            // The second takes the place of the first, and is told again what that may have lost.
            let second = try stream(server, client, after: event.id)
            #expect(try first.rest.event() == nil)
            #expect(try uri(second) == "starling://keys/a:1")
            for id in ["x", "18446744073709551615"] { _ = try stream(server, client, after: id) }
            let third = try stream(server, client, after: "99999")
            #expect(try uri(third) == "starling://keys/a:*")
            #expect(
                try client.ask("resources/unsubscribe", #""uri":"starling://keys/a:*""#).json.object("result") != nil)
            #expect(try client.ask("resources/subscribe", #""uri":"starling://keys/b""#).json.object("result") != nil)
            for key in ["a:2", "b"] { _ = try writer.call("key_write", #"{"key":"\#(key)","value":1}"#) }
            #expect(try uri(third) == "starling://keys/b")
        }

        @Test("A subscription to nothing that there can be is refused; one to what may not be read too")
        func refusals() throws {
            let access = try AccessFixture()
            try access.add("ada", read: ["a:*"], write: [])
            let server = try access.start()
            let client = try MCPClient.begun(server, token: access.tokens["ada"])
            for uri in ["starling://x", "file:///x", "starling://keys/b"] {
                #expect(
                    try client.ask("resources/subscribe", #""uri":"\#(uri)""#).json.object("error") != nil, "\(uri)")
            }
            #expect(try client.ask("resources/subscribe", #""uri":"starling://keys/a:1""#).json.object("result") != nil)
        }

        @Test("Rule 26: a call that waits can be cancelled, by its own session alone, and is not answered")
        func cancel() throws {
            let server = try ServerProcess()
            let (client, other) = try (MCPClient.begun(server), MCPClient.begun(server))
            _ = try other.call("swarm_init", #"{"swarm":"s","topology":"mesh"}"#)
            let waiting = try MCPClient(server)
            func wait(_ id: Int) throws {
                try waiting.rest.send(
                    "POST", "/mcp",
                    #"{"jsonrpc":"2.0","id":\#(id),"method":"tools/call","params":{"name":"task_next","arguments":{"swarm":"s","wait":40,"agent":"a\#(id)"}}}"#,
                    client.sessionHeaders)
                try ServerProcess.until {
                    try other.call("swarm_status", #"{"swarm":"s"}"#).content.integer("waiting") == 1 ? true : nil
                }
            }
            let cancelled = #"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#
            try wait(5)
            #expect(try other.rest.ask("POST", "/mcp", cancelled, other.sessionHeaders).status == 202)
            #expect(
                try other.call("swarm_status", #"{"swarm":"s"}"#).content.integer("waiting") == 1, "it is another's")
            #expect(try client.rest.ask("POST", "/mcp", cancelled, client.sessionHeaders).status == 202)
            let answer = try waiting.rest.answer()
            #expect(answer.json.object("result") == nil, "\(answer)")
            #expect(try other.call("swarm_status", #"{"swarm":"s"}"#).content.integer("waiting") == 0)
            _ = try other.call("task_submit", #"{"swarm":"s","tasks":[{"id":"t"}]}"#)
            #expect(try other.call("task_next", #"{"swarm":"s","agent":"b"}"#).content.object("task") != nil)
        }

        @Test("Who is gone is not present any more, and its task goes back; of two of one name the other goes on")
        func end() throws {
            let server = try ServerProcess()
            let setup = try MCPClient(server)
            _ = try setup.call("swarm_init", #"{"swarm":"s","topology":"mesh"}"#)
            let name = ["Starling-Agent": "ada"]
            let (one, two) = try (MCPClient.begun(server, headers: name), MCPClient.begun(server, headers: name))
            for client in [one, two] { _ = try client.call("swarm_join", #"{"swarm":"s"}"#) }
            _ = try setup.call("task_submit", #"{"swarm":"s","tasks":[{"id":"t"}]}"#)
            #expect(try one.call("task_next", #"{"swarm":"s"}"#).content.object("task") != nil)
            func end(_ client: MCPClient) throws {
                var headers = client.sessionHeaders
                headers["Content-Type"] = nil
                #expect(try client.rest.ask("DELETE", "/mcp", nil, headers).status == 204)
            }
            func isPresent() throws -> Bool? {
                let agents = try setup.call("swarm_status", #"{"swarm":"s"}"#).content.array("agents") ?? []
                return try agents.first.map { try JSONObject($0).bool("present") == true }
            }
            try end(one)
            #expect(try isPresent() == true)
            try end(two)
            try ServerProcess.until { () throws -> Bool? in try isPresent() == false ? true : nil }
            try ServerProcess.until {
                try setup.call("task_next", #"{"swarm":"s","wait":4,"agent":"bob"}"#).content.object("task").map { _ in
                    true
                }
            }
        }

        @Test(
            "Any call of an agent's renews what it holds, by whatever connection, also behind a restart of the server")
        func leases() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            var setup = try MCPClient(server)
            _ = try setup.call("swarm_init", #"{"swarm":"s","topology":"mesh"}"#)
            _ = try setup.call("swarm_join", #"{"swarm":"s","agent":"ada"}"#)
            _ = try setup.call("task_submit", #"{"swarm":"s","tasks":[{"id":"t"}]}"#)
            let task = try setup.call("task_next", #"{"swarm":"s","lease":4,"agent":"ada"}"#).content
            let fence = try #require(task.integer("fence"))
            let end = try #require(task.integer("expires_at"))
            func expiry() throws -> Int64? {
                let answer = try setup.ask("resources/read", #""uri":"starling://keys/swarm:s:task:t:claim""#)
                let content = try answer.json.object("result")?.array("contents")?.first.map { try JSONObject($0) }
                return content?.object("_meta")?.integer("starling/expires_at")
            }
            // Calls that have nothing to do with the task; another's renew nothing.
            let renewed = try ServerProcess.until { () throws -> Int64? in
                _ = try setup.call("memory_list", #"{"agent":"ada"}"#)
                _ = try MCPClient(server).call("task_next", #"{"swarm":"s","agent":"bob"}"#)
                #expect(try expiry() != nil, "it was lost")
                _ = try setup.call("message_inbox", #"{"swarm":"s","agent":"ada"}"#)
                return try expiry().flatMap { $0 > end ? $0 : nil }
            }
            server.terminate()
            _ = server.wait()
            server = try ServerProcess(in: folder)
            setup = try MCPClient(server)
            try ServerProcess.until { () throws -> Bool? in
                _ = try setup.call("message_inbox", #"{"swarm":"s","agent":"ada"}"#)
                return try expiry().flatMap { $0 > renewed ? true : nil }
            }
            #expect(
                try setup.problem("task_complete", #"{"swarm":"s","task":"t","fence":\#(fence),"agent":"ada"}"#) == nil)
        }

        @Test(
            "500 calls for a task, cut off at every moment: no task is lost for longer than its lease, and none has two holders"
        )
        func cutOff() throws {
            let server = try ServerProcess()
            let setup = try MCPClient(server)
            _ = try setup.call("swarm_init", #"{"swarm":"s","topology":"mesh","max_attempts":0}"#)
            let tasks = (0..<40).map { #"{"id":"t\#($0)"}"# }.joined(separator: ",")
            var random = SeededGenerator(seed: 20)
            for round in 0..<500 {
                if round == 50 { _ = try setup.call("task_submit", #"{"swarm":"s","tasks":[\#(tasks)]}"#) }
                let client = try round % 3 == 0 ? MCPClient.begun(server) : MCPClient(server)
                try client.send(
                    "tools/call",
                    #""name":"task_next","arguments":{"swarm":"s","lease":3,"wait":\#(round % 2 * 5),"agent":"a\#(round)"}"#
                )
                usleep(UInt32.random(in: 0...8_000, using: &random))
                // The end of the client closes its socket.
            }
            var done: Set<String> = []
            try ServerProcess.until { () throws -> Bool? in
                let task = try setup.call("task_next", #"{"swarm":"s","lease":60,"wait":4,"agent":"last"}"#).content
                guard let name = task.object("task")?.string("task_id"), let fence = task.integer("fence") else {
                    return nil
                }
                #expect(
                    try setup.problem(
                        "task_complete", #"{"swarm":"s","task":"\#(name)","fence":\#(fence),"agent":"last"}"#) == nil)
                #expect(done.insert(name).inserted, "\(name) was there twice")
                return done.count == 40 ? true : nil
            }
        }
    }
}
