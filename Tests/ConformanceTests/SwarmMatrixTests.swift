import Registers
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Tokens × swarms × every call and route of swarms, generated: a call wants the right to write what it is about, and nothing of a
    /// swarm comes through by any answer to a token that may not read it.
    struct SwarmMatrixTests {
        typealias Token = AccessMatrixTests.Token

        static let swarms = ["red", "blue"]
        /// The last ones change what the others are asked about.
        static let tokens = [
            Token(id: "nothing", read: [], write: []),
            Token(id: "reader", read: ["swarm:red:**"], write: []),
            Token(id: "rows", read: ["swarm:*:task:first"], write: ["swarm:blue:board:*"]),
            Token(id: "outline", read: [], write: ["swarm:red:task:t", "swarm:red:inbox:writer-red-:*"]),
            Token(
                id: "worker", read: ["swarm:red:**"],
                write: ["swarm:red:task:*", "swarm:red:agent:*:*", "swarm:red:inbox:*"]),
            Token(id: "owner", read: ["swarm:blue:**"], write: ["swarm:blue:**"]),
            Token(id: "all", read: ["*"], write: ["*"]),
        ]

        /// What tells that something was shown, and the key that it stands in.
        private static func traces(_ swarm: String) -> [(text: String, key: String)] {
            [
                ("input-\(swarm)-", "swarm:\(swarm):task:first:input"),
                ("\"agent_id\":\"writer-\(swarm)-", "swarm:\(swarm):task:first"),
                ("letter-\(swarm)-", "swarm:\(swarm):inbox:writer-\(swarm)-:1"),
            ]
        }

        /// What is called, and the key that it is about; nil: it has a rule of its own.
        private static func calls(_ swarm: String) -> [(message: String, key: String?)] {
            func about(_ task: String, _ calls: [String]) -> [(String, String?)] {
                calls.map { call in
                    let rest = call.contains("\"") ? call : "\(call)\""
                    return (#""type":"task.\#(rest),"task":"\#(task)""#, "swarm:\(swarm):task:\(task)")
                }
            }
            let config = "swarm:\(swarm):config"
            let all: [(String, String?)] =
                about("first", ["progress\",\"fence\":1", "complete\",\"fence\":1", "fail\",\"fence\":1"])
                + about("first", ["release\",\"fence\":1", "park\",\"fence\":1"])
                + about(
                    "t", ["resume", "retry", "revoke", "assign\",\"agent_id\":\"x\"", "depend\",\"on\":[\"first\"]"])
                + [
                    (#""type":"swarm.status""#, nil), (#""type":"task.next""#, nil),
                    (#""type":"task.submit","tasks":[{"id":"first"}]"#, "swarm:\(swarm):task:first"),
                    (
                        #""type":"message.send","to":"writer-\#(swarm)-","body":1"#,
                        "swarm:\(swarm):inbox:writer-\(swarm)-:1"
                    ),
                    (#""type":"message.send","board":true,"body":1"#, "swarm:\(swarm):board:1"),
                    (#""type":"message.ack","keys":["swarm:\#(swarm):inbox:x:1"]"#, "swarm:\(swarm):inbox:x:1"),
                    (#""type":"swarm.join""#, "swarm:\(swarm):agent:x:1"),
                    (#""type":"swarm.leave""#, "swarm:\(swarm):agent:x:1"),
                    (#""type":"swarm.init""#, config),
                ] + about("t", ["cancel"]) + [(#""type":"swarm.end""#, config)]
            return all.map { (#"{"id":1,"swarm":"\#(swarm)",\#($0.0)}"#, $0.1) }
        }

        /// Calls that topology has a say in, too.
        private static let directing = ["retry", "revoke", "assign", "depend", "cancel", "message.send", "message.ack"]

        let access: AccessFixture
        let server: ServerProcess
        private let writers: [RawClient]

        init() throws {
            access = try AccessFixture()
            for token in Self.tokens { try access.add(token.id, read: token.read, write: token.write) }
            let server = try access.start()
            let access = access
            self.server = server
            writers = try Self.swarms.map { swarm in
                let client = try access.connect(server, "all")
                let writer = "writer-\(swarm)-"
                for message in [
                    #"{"type":"hello","agent":"\#(writer)"}"#, #"{"type":"swarm.init","id":1,"swarm":"\#(swarm)"}"#,
                    #"{"type":"swarm.join","id":2,"swarm":"\#(swarm)"}"#,
                    #"{"type":"task.submit","id":3,"swarm":"\#(swarm)","tasks":[{"id":"first","input":"input-\#(swarm)-","agent_id":"\#(writer)"},{"id":"t","dependencies":["first"],"agent_id":"\#(writer)"}]}"#,
                    #"{"type":"message.send","id":4,"swarm":"\#(swarm)","to":"\#(writer)","body":"letter-\#(swarm)-"}"#,
                ] { try client.send(message) }
                _ = try client.receive(type: "sent")
                return client
            }
        }

        private func expectNoTrace(_ swarm: String, _ token: Token, in answer: String, _ comment: String) {
            for trace in Self.traces(swarm) where !token.mayRead(trace.key) {
                #expect(!answer.contains(trace.text), "\(comment) shows \(trace.text): \(answer)")
            }
        }

        private static func may(_ token: Token, _ message: String, _ key: String?, _ swarm: String) -> Bool {
            if let key { return token.mayWrite(key) }
            if message.contains("status") {
                return ["config", "task:*", "member:*"].allSatisfy { token.mayRead("swarm:\(swarm):\($0)") }
            }
            return ["t", "first", "other"].contains { token.mayWrite("swarm:\(swarm):task:\($0)") }
        }

        @Test(
            "Each call is refused to who may not write what it is about, and no answer shows what its caller may not read"
        )
        func calls() throws {
            for token in Self.tokens {
                for swarm in Self.swarms {
                    let client = try access.connect(server, token.id)
                    try client.send(#"{"type":"hello","id":"h","agent":"x"}"#)
                    _ = try client.receive(type: "welcome")
                    for (message, key) in Self.calls(swarm) {
                        try client.send(message)
                        try client.send(#"{"type":"ping","id":"end"}"#)
                        var codes: [String] = []
                        while case .message(let text) = try client.next(), !text.contains(#""id":"end""#) {
                            expectNoTrace(swarm, token, in: text, "\(token.id): \(message)")
                            if let code = try JSONObject(Array(text.utf8)).string("code") { codes.append(code) }
                        }
                        let place = "\(token.id): \(message) is answered \(codes)"
                        if !Self.may(token, message, key, swarm) {
                            #expect(codes == ["forbidden"], "\(place)")
                        } else if !Self.directing.contains(where: message.contains) || token.id == "all" {
                            #expect(!codes.contains("forbidden"), "\(place)")
                        }
                    }
                }
            }
        }

        @Test("Over HTTP neither a status, a list, a task, an inbox nor a stream shows what its caller may not read")
        func reading() throws {
            for token in Self.tokens {
                for swarm in Self.swarms {
                    for path in ["", "/tasks", "/tasks/first", "/tasks/t", "/inbox/writer-\(swarm)-"] {
                        let client = try RESTClient(server, token: access.tokens[token.id])
                        let answer = try client.ask("GET", "/v1/swarms/\(swarm)\(path)")
                        expectNoTrace(swarm, token, in: answer.body, "\(token.id): \(swarm)\(path)")
                        if path == "/tasks/first" {
                            #expect(answer.status == (token.mayRead("swarm:\(swarm):task:first") ? 200 : 403))
                        }
                    }
                    let stream = try RESTClient(server, token: access.tokens[token.id])
                    try stream.send("GET", "/v1/swarms/\(swarm)/events")
                    guard try stream.answer(hasBody: false).status == 200 else { continue }
                    var told = ""
                    while let event = try stream.event(), event.name != "synced" { told += event.data }
                    expectNoTrace(swarm, token, in: told, "\(token.id): the stream of \(swarm)")
                    for trace in Self.traces(swarm) where token.mayRead(trace.key) {
                        #expect(told.contains(trace.text), "\(token.id): the stream of \(swarm) has no \(trace.text)")
                    }
                }
            }
        }
    }
}
