import Foundation
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// `/mcp`, with the real server: what is answered, with which status, to clients that do it right, and to those that do not.
    struct MCPTests {
        private func code(_ answer: RESTClient.Answer) -> Int64? { answer.json.object("error")?.integer("code") }

        @Test("Both kinds of client get the same from the same server: memory, tasks, messages, keys")
        func tools() throws {
            let server = try ServerProcess()
            for (number, client) in try [
                MCPClient(server), MCPClient.begun(server), MCPClient.begun(server, version: "2024-11-05"),
            ]
            .enumerated() {
                let swarm = "s\(number)"
                let who = #""agent":"ada""#
                #expect(try client.problem("memory_store", #"{"key":"k","value":[1],\#(who)}"#) == nil)
                #expect(
                    try client.call("memory_get", #"{"key":"k",\#(who)}"#).content.raw("value") == Array("[1]".utf8))
                #expect(
                    try client.call("swarm_init", #"{"swarm":"\#(swarm)","topology":"mesh"}"#).content.bool("created")
                        == true)
                _ = try client.call("swarm_join", #"{"swarm":"\#(swarm)",\#(who)}"#)
                _ = try client.call(
                    "task_submit", #"{"swarm":"\#(swarm)","tasks":[{"id":"t","input":{"x":1}}],\#(who)}"#)
                let task = try client.call("task_next", #"{"swarm":"\#(swarm)","wait":5,\#(who)}"#).content
                let fence = try #require(task.integer("fence"))
                #expect(task.object("input")?.integer("x") == 1)
                #expect(
                    try client.problem("task_complete", #"{"swarm":"\#(swarm)","task":"t","fence":1,\#(who)}"#)
                        == "stale_fence")
                #expect(
                    try client.problem("task_complete", #"{"swarm":"\#(swarm)","task":"t","fence":\#(fence),\#(who)}"#)
                        == nil)
                #expect(
                    try client.problem("message_send", #"{"swarm":"\#(swarm)","to":"ada","body":"hi",\#(who)}"#) == nil)
                let inbox = try client.call("message_inbox", #"{"swarm":"\#(swarm)",\#(who)}"#).content
                #expect(try JSONObject(try #require(inbox.array("messages")?.first)).string("body") == "hi")
                let status = try client.ask("resources/read", #""uri":"starling://swarms/\#(swarm)/tasks/t""#)
                #expect(status.body.contains("completed"), "\(status)")
                #expect(try client.problem("key_write", #"{"key":"swarm:\#(swarm):task:t","value":1}"#) == "guarded")
                #expect(try client.problem("claim", #"{"key":"l\#(number)","do":"claim","ttl":20,\#(who)}"#) == nil)
                #expect(try client.problem("key_write", #"{"key":"l\#(number)","value":1}"#) == "held")
            }
        }

        @Test("Hostile HTTP: each mistake has its status and its code")
        func codes() throws {
            let server = try ServerProcess()
            let (body, headers) = MCPClient.modern("tools/list")
            func ask(_ body: String, _ headers: [String: String], _ path: String = "/mcp") throws -> RESTClient.Answer {
                try MCPClient(server).rest.ask("POST", path, body, headers)
            }
            func with(_ name: String, _ value: String?) -> [String: String] {
                var changed = headers
                changed[name] = value
                return changed
            }
            for (answer, status, error) in try [
                (ask(body, headers), 200, nil),
                (ask(body, with("Content-Type", nil)), 415, nil),
                (ask(body, with("Content-Type", "text/plain")), 415, nil),
                (ask(body, with("Content-Type", "application/json; charset=utf-8")), 200, nil),
                (ask(body, with("Accept", "text/html")), 406, nil), (ask(body, with("Accept", nil)), 200, nil),
                (ask(body, with("Accept", "application/json")), 200, nil),
                (ask(body, with("MCP-Protocol-Version", nil)), 400, -32_020),
                (ask(body, with("MCP-Protocol-Version", "2025-11-25")), 400, -32_020),
                (ask(body, with("Mcp-Method", "tools/call")), 400, -32_020),
                (
                    ask(body.replacing("2026-07-28", with: "2031-01-01"), with("MCP-Protocol-Version", "2031-01-01")),
                    400, -32_022
                ),
                (ask(body, with("Mcp-Session-Id", "none")), 200, nil),
                (ask(#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#, headers), 400, -32_602),
                (ask(#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, MCPClient.headers), 400, -32_600),
                (ask("[\(body)]", headers), 400, -32_600), (ask("{", headers), 400, -32_700),
                (ask("", headers), 400, -32_700),
                (ask(#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, MCPClient.headers), 400, -32_600),
                (ask(MCPClient.modern("nope").body, MCPClient.modern("nope").headers), 404, -32_601),
                (ask(body, headers, "/mcp?tools=claude-flow"), 200, nil),
                (ask(body, headers, "/mcp?tools=x"), 400, nil),
                (ask(body, headers, "/mcp?token=secret"), 400, nil), (ask(body, headers, "/mcp?x=1"), 400, nil),
                (ask(body, with("Origin", "https://evil.example")), 403, nil),
                (ask(#"{"jsonrpc":"2.0","method":"notifications/x"}"#, MCPClient.headers), 202, nil),
                (ask(#"{"jsonrpc":"2.0","id":1,"result":{}}"#, MCPClient.headers), 202, nil),
                (ask(#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, with("Mcp-Session-Id", "0123")), 400, -32_602),
            ] as [(RESTClient.Answer, Int, Int64?)] {
                #expect(answer.status == status, "\(answer)")
                #expect(code(answer) == error, "\(answer)")
                #expect(answer.headers["mcp-session-id"] == nil)
            }
        }

        @Test("What belongs to no session, or to one by another version")
        func sessions() throws {
            let server = try ServerProcess()
            let session = try MCPClient.begun(server)
            let none = MCPClient.headers.merging(["Mcp-Session-Id": "0123"]) { $1 }
            let wrong = session.sessionHeaders.merging(["MCP-Protocol-Version": "nope"]) { $1 }
            for (method, headers, status, error) in [
                ("ping", none, 404, -32_600), ("ping", wrong, 400, -32_600),
                ("nope", session.sessionHeaders, 200, -32_601),
            ] as [(String, [String: String], Int, Int64)] {
                let answer = try RESTClient(server).ask(
                    "POST", "/mcp", #"{"jsonrpc":"2.0","id":1,"method":"\#(method)"}"#, headers)
                #expect(answer.status == status && code(answer) == error, "\(answer)")
            }
        }

        @Test("Methods and paths that there are not")
        func methods() throws {
            let server = try ServerProcess()
            let client = try MCPClient(server)
            for method in ["PUT", "PATCH"] { #expect(try client.rest.ask(method, "/mcp", "{}").status == 405) }
            #expect(try client.rest.ask("GET", "/mcp", nil, ["Accept": "text/event-stream"]).status == 400)
            #expect(
                try client.rest.ask(
                    "GET", "/mcp", nil, ["Accept": "text/event-stream", "MCP-Protocol-Version": "2026-07-28"]
                ).status == 405)
            #expect(try client.rest.ask("DELETE", "/mcp").status == 400)
            #expect(try client.rest.ask("GET", "/.well-known/oauth-protected-resource").status == 404)
        }

        @Test("A body of 4 MiB is taken, and one byte more is not; a foreign Host is another server's")
        func sizes() throws {
            let server = try ServerProcess()
            let limit = 4 << 20
            for (size, status) in [(limit, 404), (limit + 1, 413)] {
                let (body, headers) = MCPClient.modern("nope")
                let padded =
                    body.dropLast() + #","x":""# + String(repeating: "x", count: size - body.utf8.count - 7) + "\"}"
                #expect(padded.utf8.count == size)
                #expect(try MCPClient(server).rest.ask("POST", "/mcp", String(padded), headers).status == status)
            }
            let raw = try RawClient(port: server.port)
            try raw.send(raw: Array("POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\n\r\n{}".utf8))
            #expect(try raw.readHead().contains(" 421 "))
        }

        @Test("Half of a pair of surrogates in a value keeps nobody from reading the rest")
        func surrogates() throws {
            let server = try ServerProcess()
            let value = #"["\ud800x","\ud83d\ude00","\\ud800"]"#
            let poison = try RESTClient(server).ask("PUT", "/v1/keys/poison", value)
            #expect(200...204 ~= poison.status, "\(poison)")
            let answer = try MCPClient(server).ask("tools/call", #""name":"key_read","arguments":{"key":"poison"}"#)
            #expect(answer.body.contains(#"["\ufffdx","\ud83d\ude00","\\ud800"]"#), "\(answer)")
            #expect((try? JSONSerialization.jsonObject(with: Data(answer.body.utf8))) != nil)
        }

        @Test("A name in Starling-Agent is any text, encoded where it has to be; what is no name is refused")
        func names() throws {
            let server = try ServerProcess()
            let (body, headers) = MCPClient.modern("server/discover")
            for (name, text) in [("ada", "You are ada"), ("=?base64?w6QgYg==?=", "You are ä b")] {
                let answer = try RESTClient(server).ask(
                    "POST", "/mcp", body, headers.merging(["Starling-Agent": name]) { $1 })
                #expect(answer.body.contains(text), "\(answer)")
            }
            for bad in [String(repeating: "x", count: 500), "=?base64?w6?="] {
                let answer = try RESTClient(server).ask(
                    "POST", "/mcp", body, headers.merging(["Starling-Agent": bad]) { $1 })
                #expect(answer.status == 400, "\(answer)")
            }
        }

        @Test("Ids come back as they were, and a duplicated routing header is refused")
        func ids() throws {
            let server = try ServerProcess()
            let client = try MCPClient(server)
            for id in ["7", "-7", #""a\"b""#, "12345678901234567890123"] {
                try client.send("tools/list", id: id)
                #expect(try client.rest.answer().json.raw("id") == Array(id.utf8))
            }
            let (body, headers) = MCPClient.modern("tools/list")
            let raw = try RawClient(port: server.port)
            let lines =
                headers.map { "\($0.key): \($0.value)" } + [
                    "Mcp-Method: tools/call", "Content-Length: \(body.utf8.count)",
                ]
            try raw.send(
                raw: Array(
                    ("POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
                        .utf8))
            #expect(try raw.readHead().contains(" 400 "))
        }

        @Test(
            "A call that waits is JSON when it is soon over, else a stream that says how long it has been, and then the answer"
        )
        func waiting() throws {
            let server = try ServerProcess()
            let setup = try MCPClient(server)
            _ = try setup.call("swarm_init", #"{"swarm":"s","topology":"mesh"}"#)
            for client in try [MCPClient(server), MCPClient.begun(server)] {
                #expect(
                    try client.call("task_next", #"{"swarm":"s","wait":1,"agent":"a"}"#).content.raw("task")
                        == Array("null".utf8))
                let call = #""name":"task_next","arguments":{"swarm":"s","wait":30,"agent":"a"}"#
                try client.send("tools/call", call, token: #""p""#)
                let head = try client.rest.answer()
                #expect(
                    head.headers["content-type"] == "text/event-stream" && head.headers["x-accel-buffering"] == "no")
                let progress = try #require(try client.rest.event()).json
                #expect(progress.string("method") == "notifications/progress")
                #expect(progress.object("params")?.string("progressToken") == "p")
                _ = try setup.call("task_submit", #"{"swarm":"s","tasks":[{"id":"t\#(client.session ?? "")"}]}"#)
                let answer = try #require(try client.rest.event()).json
                #expect(answer.object("result")?.array("content") != nil, "\(answer)")
                #expect(try client.rest.event() == nil)
                // The connection can be used once more.
                #expect(try client.ask("tools/list").status == 200)
            }
        }

        @Test(
            "A listener gets what it asked for, and is told by its id: sep-2575-server-sends-subscription-ack and the rest"
        )
        func listen() throws {
            let server = try ServerProcess()
            let (listener, writer) = try (MCPClient(server), MCPClient(server))
            try listener.send(
                "subscriptions/listen",
                #""notifications":{"resourceSubscriptions":["starling://keys/task:*","file:///x","starling://keys/one"],"toolsListChanged":true}"#,
                id: #""l1""#)
            #expect(try listener.rest.answer().status == 200)
            let first = try #require(try listener.rest.event()).json
            #expect(first.string("method") == "notifications/subscriptions/acknowledged")
            let parameters = try #require(first.object("params"))
            let honoured = parameters.object("notifications")
            #expect(
                honoured?.array("resourceSubscriptions")?.compactMap(JSONObject.string) == [
                    "starling://keys/task:*", "starling://keys/one",
                ])
            #expect(honoured?.raw("toolsListChanged") == nil && honoured?.raw("resourcesListChanged") == nil)
            #expect(parameters.object("_meta")?.string("io.modelcontextprotocol/subscriptionId") == "l1")
            for key in ["other", "task:1", "one", "memory:a:b"] {
                _ = try writer.call("key_write", #"{"key":"\#(key)","value":1}"#)
            }
            for uri in ["starling://keys/task:1", "starling://keys/one"] {
                let update = try #require(try listener.rest.event()).json
                #expect(update.string("method") == "notifications/resources/updated" && update.raw("id") == nil)
                #expect(update.object("params")?.string("uri") == uri)
                #expect(
                    update.object("params")?.object("_meta")?.string("io.modelcontextprotocol/subscriptionId") == "l1")
            }
            server.terminate()
            let last = try #require(try listener.rest.event()).json
            #expect(last.string("id") == "l1" && last.object("result") != nil, "\(last)")
            #expect(try listener.rest.event() == nil)
        }

        @Test("A sleeping client is told of 5,000 keys by the pattern, stays subscribed, and is told of the next one")
        func manyKeys() throws {
            let server = try ServerProcess()
            let (listener, writer) = try (MCPClient(server), MCPClient(server))
            try listener.send(
                "subscriptions/listen", #""notifications":{"resourceSubscriptions":["starling://keys/many:*"]}"#)
            _ = try listener.rest.answer()
            _ = try listener.rest.event()
            let rest = try RESTClient(server)
            for start in stride(from: 0, to: 5_000, by: 250) {
                let writes = (start..<start + 250).map { #"{"key":"many:\#($0)","value":1}"# }.joined(separator: ",")
                #expect(try rest.ask("POST", "/v1/batches", #"{"writes":[\#(writes)]}"#).status == 200)
            }
            var uris: [String] = []
            while uris.last != "starling://keys/many:*" {
                uris.append(try #require(try listener.rest.event()).json.object("params")?.string("uri") ?? "")
            }
            #expect(uris.count <= 257 + 20, "\(uris.count)")
            #expect(Set(uris).count <= 257)
            _ = try writer.call("key_write", #"{"key":"many:0","value":2}"#)
            var last = ""
            while last != "starling://keys/many:0" {
                last = try #require(try listener.rest.event()).json.object("params")?.string("uri") ?? ""
            }
        }
    }
}
