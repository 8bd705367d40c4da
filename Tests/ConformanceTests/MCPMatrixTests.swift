import Foundation
import Registers
import StarlingServer
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Tokens × tools, resources, subscriptions and completion of MCP, generated: each shows what its patterns say, and nothing else.
    ///
    /// Every register has a word of its own in its value and in its key, by which it is told from the others in whatever answer.
    struct MCPMatrixTests {
        private static let keys: [(key: String, trace: String, uri: String)] = [
            ("plain:tracea", "tracea", "starling://keys/plain:tracea"),
            ("task:9:traceb", "traceb", "starling://keys/task:9:traceb"),
            ("memory:ada:tracec", "tracec", "starling://memory/ada/tracec"),
            ("memory:bob:traced", "traced", "starling://memory/bob/traced"),
            ("knowledge:tracee", "tracee", "starling://knowledge/tracee"),
            ("swarm:tracef:config", "tracef", "starling://swarms/tracef/status"),
            ("swarm:tracef:inbox:ada:x", "x", "starling://swarms/tracef/inbox/ada"),
        ]

        private static let tokens: [(id: String, read: [String])] = [
            ("all", ["**"]), ("nothing", []), ("plain", ["plain:*"]), ("tasks", ["task:*"]), ("ada", ["memory:ada:*"]),
            ("memories", ["memory:*"]), ("known", ["knowledge:*"]), ("swarm", ["swarm:tracef:**"]),
            ("other", ["swarm:s:**", "session:*"]),
        ]

        private let access: AccessFixture
        private let server: ServerProcess

        init() throws {
            access = try AccessFixture()
            for (id, read) in Self.tokens { try access.add(id, read: read, write: ["session:*"]) }
            try access.add("root", read: ["**"], write: ["**"])
            server = try access.start()
            let root = try MCPClient(server, token: access.tokens["root"])
            _ = try root.call("swarm_init", #"{"swarm":"tracef","topology":"mesh"}"#)
            for agent in ["ada", "bob"] { _ = try root.call("swarm_join", #"{"swarm":"tracef","agent":"\#(agent)"}"#) }
            _ = try root.call("message_send", #"{"swarm":"tracef","to":"ada","body":"needle","agent":"bob"}"#)
            try write(root, "first")
        }

        private func write(_ root: MCPClient, _ value: String) throws {
            let rest = try RESTClient(server, token: access.tokens["root"])
            for key in ["plain:tracea", "task:9:traceb"] {
                #expect(try root.problem("key_write", #"{"key":"\#(key)","value":"needle \#(value)"}"#) == nil)
            }
            for (agent, key) in [("ada", "tracec"), ("bob", "traced")] {
                #expect(
                    try root.problem(
                        "memory_store", #"{"agent":"\#(agent)","key":"\#(key)","value":"needle \#(value)"}"#) == nil)
            }
            let body = #"{"topic":"needle","content":"needle tracee \#(value)"}"#
            #expect(200...201 ~= (try rest.ask("PUT", "/v1/knowledge/tracee", body)).status)
            let config = #"{"topology":"mesh","note":"\#(value)"}"#
            #expect(200...201 ~= (try rest.ask("PUT", "/v1/keys/swarm:tracef:config", config)).status)
        }

        /// The traces that a token may be shown.
        private func visible(_ read: [String]) throws -> Set<String> {
            let patterns = try read.map { try Pattern($0) }
            return try Set(
                Self.keys.filter { one in try patterns.contains { $0.matches(try Key(one.key)) } }.map(\.trace))
        }

        /// - Parameter shown: what has to be in it, of what may be.
        private func check(_ text: String, _ visible: Set<String>, shown: Set<String> = [], _ what: String) {
            for (_, trace, _) in Self.keys where trace.hasPrefix("trace") {
                if !visible.contains(trace) { #expect(!text.contains(trace), "\(what) shows \(trace): \(text)") }
                if shown.contains(trace), visible.contains(trace) {
                    #expect(text.contains(trace), "\(what) does not show \(trace): \(text)")
                }
            }
        }

        @Test("Tools, resources, lists, prompts and completion show what may be read", arguments: [false, true])
        func reading(isLegacy: Bool) throws {
            for (id, read) in Self.tokens {
                let visible = try visible(read)
                let token = access.tokens[id]
                let client = try isLegacy ? MCPClient.begun(server, token: token) : MCPClient(server, token: token)
                for (tool, arguments, shown) in [
                    ("search", #"{"query":"needle"}"#, ["tracec", "traced", "tracee"]),
                    ("key_read", #"{"pattern":"plain:*"}"#, ["tracea"]),
                    ("key_read", #"{"pattern":"task:**"}"#, ["traceb"]),
                    ("memory_list", #"{"agent":"ada"}"#, ["tracec"]), ("memory_list", #"{"agent":"bob"}"#, ["traced"]),
                    ("memory_get", #"{"agent":"eve","key":"tracex"}"#, []),
                    ("swarm_status", #"{"swarm":"*"}"#, []), ("task_list", #"{"swarm":"*"}"#, []),
                    ("message_inbox", #"{"swarm":"*","agent":"*"}"#, []),
                ] as [(String, String, Set<String>)] {
                    // What was asked for comes back in refusals: nothing of it is a trace.
                    let answer = try client.ask("tools/call", #""name":"\#(tool)","arguments":\#(arguments)"#)
                    check(answer.body, visible, shown: shown, "\(id): \(tool)")
                }
                check(try client.ask("resources/list").body, visible, shown: ["tracec", "traced"], "\(id): list")
                check(
                    try client.ask("prompts/get", #""name":"recall","arguments":{"topic":"needle"}"#).body, visible,
                    shown: ["tracec", "traced", "tracee"], "\(id): recall")
                try resources(id, visible, client)
                try completion(id, visible, client)
            }
        }

        private func resources(_ id: String, _ visible: Set<String>, _ client: MCPClient) throws {
            for (key, trace, uri) in Self.keys {
                let answer = try client.ask("resources/read", #""uri":"\#(uri)""#)
                let isShown = answer.body.contains("needle") || trace == "tracef" && answer.body.contains("topology")
                let mayRead = visible.contains(trace)
                if !mayRead { #expect(!isShown, "\(id): \(uri): \(answer)") }
                // A swarm's status wants more to be read than its settings.
                if mayRead, trace != "tracef" { #expect(isShown, "\(id): \(uri) (\(key)): \(answer)") }
            }
            for pattern in ["**", "*", "memory:*", "swarm:**", "plain:*"] {
                for kind in ["keys", "patterns"] {
                    check(
                        try client.ask("resources/read", #""uri":"starling://\#(kind)/\#(pattern)""#).body, visible,
                        "\(id): \(kind) \(pattern)")
                }
            }
        }

        private func completion(_ id: String, _ visible: Set<String>, _ client: MCPClient) throws {
            for (uri, argument, value, shown) in [
                ("starling://keys/{+key}", "key", "", visible),
                ("starling://keys/{+key}", "key", "memory:", ["tracec", "traced"]),
                ("starling://keys/{+key}", "key", "*", []),
                ("starling://patterns/{+pattern}", "pattern", "", []),
                ("starling://knowledge/{id}", "id", "", ["tracee"]),
                ("starling://swarms/{swarm}/status", "swarm", "", ["tracef"]),
                ("starling://memory/{agent}/{+key}", "agent", "", []),
            ] as [(String, String, String, Set<String>)] {
                let answer = try client.ask(
                    "completion/complete",
                    #""ref":{"type":"ref/resource","uri":"\#(uri)"},"argument":{"name":"\#(argument)","value":"\#(value)"}"#
                )
                check(answer.body, visible, shown: shown, "\(id): \(uri) \(argument) \(value)")
                let agents = answer.body.contains("\"ada\"") || answer.body.contains("\"bob\"")
                if argument == "agent", visible.isDisjoint(with: ["tracec", "traced"]) {
                    #expect(!agents, "\(id): \(answer)")
                }
            }
        }

        @Test("Subscriptions tell of what may be read, by both kinds of client")
        func subscriptions() throws {
            let root = try MCPClient(server, token: access.tokens["root"])
            let uris =
                Self.keys.map(\.uri) + ["starling://keys/**", "starling://keys/memory:*", "starling://patterns/**"]
            var listeners: [(id: String, visible: Set<String>, client: MCPClient)] = []
            for (id, read) in Self.tokens {
                let client = try MCPClient(server, token: access.tokens[id])
                let list = uris.map { #""\#($0)""# }.joined(separator: ",")
                try client.send(
                    "subscriptions/listen",
                    #""notifications":{"resourceSubscriptions":[\#(list)],"resourcesListChanged":true}"#)
                #expect(try client.rest.answer().status == 200)
                _ = try client.rest.event()
                listeners.append((id, try visible(read), client))
                let legacy = try MCPClient.begun(server, token: access.tokens[id])
                for uri in uris { _ = try legacy.ask("resources/subscribe", #""uri":"\#(uri)""#) }
                let stream = try MCPClient(server, token: access.tokens[id])
                var headers = legacy.sessionHeaders
                headers["Content-Type"] = nil
                try stream.rest.send("GET", "/mcp", nil, headers)
                #expect(try stream.rest.answer().status == 200)
                listeners.append((id + " (session)", try visible(read), stream))
            }
            try write(root, "second")
            server.terminate()
            for (id, visible, client) in listeners {
                var all = ""
                while let event = try? client.rest.event() { all += event.data + "\n" }
                // By its own name a client is told of what it asked for; by a pattern of what it may read.
                for (_, trace, _) in Self.keys where trace.hasPrefix("trace") {
                    if visible.contains(trace) {
                        #expect(all.contains(trace), "\(id) is not told of \(trace): \(all)")
                    } else {
                        #expect(!all.contains(trace), "\(id) is told of \(trace): \(all)")
                    }
                }
                let isTold = all.contains("list_changed")
                let mayBeTold = !visible.isDisjoint(with: ["tracec", "traced", "tracef"])
                #expect(isTold == mayBeTold, "\(id): \(all)")
            }
        }
    }
}
