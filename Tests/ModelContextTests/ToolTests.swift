import NIOCore
import SyncProtocol
import Testing

@testable import ModelContext

/// What tools ask of the server, and what they make of the answers.
struct ToolTests {
    private static let requester = Requester(agent: "ada", client: "c")

    private func plan(_ tool: String, _ arguments: String, _ set: Machine.ToolSet = .starling) throws -> Plan {
        let tool = try #require(set.tools.first { $0.name == tool })
        return try tool.plan(JSONObject(Array(arguments.utf8)), Self.requester)
    }

    private func messages(_ step: Step) -> [JSONObject] {
        let messages: [SyncMessage] =
            switch step {
            case .ask(let messages, _): messages
            case .wait(let message, _): [message]
            case .watch, .newestMemories, .done: []
            }
        return messages.compactMap { try? JSONObject(Array($0.message(number: 1).readableBytesView)) }
    }

    private static let calls: [(tool: String, arguments: String, types: [String])] = [
        (
            "memory_store", #"{"key":"k","value":{"a":[1]},"ttl":5,"tags":["t"],"metadata":{"x":1},"expect":null}"#,
            ["memory.put"]
        ),
        ("memory_get", #"{"key":"k","agent":"bob"}"#, ["memory.get"]),
        ("memory_list", #"{"prefix":"k","limit":3}"#, ["memory.list"]),
        ("memory_delete", #"{"key":"k"}"#, ["memory.delete"]),
        ("search", #"{"query":"x","in":"memory","agent":"bob","tags":["t"],"limit":3}"#, ["search"]),
        (
            "knowledge_add", #"{"topic":"t","content":"c","tags":["a"],"source":"s","confidence":0.5}"#,
            ["knowledge.put"]
        ),
        ("swarm_init", #"{"swarm":"s","topology":"star"}"#, ["swarm.init"]),
        ("swarm_join", #"{"swarm":"s","role":"r","capabilities":["c"]}"#, ["swarm.join"]),
        ("swarm_status", #"{"swarm":"s"}"#, ["swarm.status"]),
        (
            "task_submit",
            #"{"swarm":"s","tasks":[{"id":"a","input":1,"priority":-2,"dependencies":["b"],"agent":"x"}]}"#,
            ["task.submit"]
        ),
        ("task_next", #"{"swarm":"s","capabilities":["c"],"lease":9}"#, ["task.next"]),
        ("task_next", #"{"swarm":"s","wait":55}"#, ["task.next"]),
        ("task_update", #"{"swarm":"s","task":"t","do":"progress","fence":1,"note":"n"}"#, ["task.progress"]),
        ("task_update", #"{"swarm":"s","task":"t","do":"park","fence":1,"note":"n"}"#, ["task.park"]),
        ("task_update", #"{"swarm":"s","task":"t","do":"cancel","cascade":true}"#, ["task.cancel"]),
        ("task_complete", #"{"swarm":"s","task":"t","fence":1,"result":[]}"#, ["task.complete"]),
        ("task_fail", #"{"swarm":"s","task":"t","fence":1,"error":"e","retry":true}"#, ["task.fail"]),
        ("task_list", #"{"swarm":"s"}"#, ["list"]),
        ("message_send", #"{"swarm":"s","to":"bob","body":{"a":1},"kind":"k"}"#, ["message.send"]),
        ("message_inbox", #"{"swarm":"s","ack":["swarm:s:inbox:ada:1"]}"#, ["message.ack"]),
        ("key_read", #"{"key":"k"}"#, ["get"]), ("key_read", #"{"pattern":"k*"}"#, ["list"]),
        ("key_write", #"{"key":"k","value":null,"ttl":3}"#, ["broadcast"]),
        ("key_write", #"{"key":"k","delete":true}"#, ["delete"]),
        ("claim", #"{"key":"k","do":"claim","ttl":5}"#, ["claim"]),
        ("claim", #"{"key":"k","do":"renew","fence":5}"#, ["renew"]),
        ("claim", #"{"key":"k","do":"release","fence":5}"#, ["release"]),
    ]

    @Test("What a tool asks is a message of the protocol, with every argument in it")
    func messages() throws {
        let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
        for (tool, arguments, types) in Self.calls {
            let plan = try plan(tool, arguments)
            #expect(messages(plan.step).compactMap { $0.string("type") } == types, "\(tool) \(arguments)")
            guard case .ask(let asked, _) = plan.step else { continue }
            for message in asked {
                let text = Array(message.message(number: 7).readableBytesView)
                #expect(throws: Never.self, "\(String(decoding: text, as: UTF8.self))") {
                    _ = try decoder.decode(text.span)
                }
            }
        }
        let all = Set(Self.calls.map(\.tool))
        #expect(all == Set(Machine.ToolSet.starling.tools.map(\.name)), "each tool is tried")
    }

    @Test("A task that was handed out can be given back; a wait is one that can be ended")
    func giveBack() throws {
        guard case .wait(_, let next) = try plan("task_next", #"{"swarm":"s","wait":1}"#).step else {
            throw RPCError(.parse, "")
        }
        let answer = try JSONObject(
            Array(
                #"{"type":"task","task":{"swarm_id":"s","task_id":"t","attempt":1},"fence":5,"expires_at":9,"input":{"a":1}}"#
                    .utf8))
        guard case .done(let outcome) = try next(answer) else { throw RPCError(.parse, "") }
        let back = try JSONObject(Array(try #require(outcome.giveBack).message(number: nil).readableBytesView))
        #expect(back.string("type") == "task.release" && back.integer("fence") == 5 && back.string("task") == "t")
        #expect(try JSONObject(outcome.json).object("input")?.integer("a") == 1)
        guard case .done(let none) = try next(JSONObject(Array(#"{"type":"none"}"#.utf8))) else {
            throw RPCError(.parse, "")
        }
        #expect(none.giveBack == nil && String(decoding: none.json, as: UTF8.self) == #"{"task":null}"#)
    }

    @Test("Arguments that do not go together are refused with what to do")
    func contradictions() throws {
        for (tool, arguments) in [
            ("message_send", #"{"swarm":"s","body":1}"#),
            ("message_send", #"{"swarm":"s","body":1,"to":"b","board":true}"#),
            ("task_update", #"{"swarm":"s","task":"t","do":"progress"}"#),
            ("task_update", #"{"swarm":"s","task":"t","do":"resume","fence":1}"#),
            ("task_update", #"{"swarm":"s","task":"t","do":"release","fence":1,"note":"n"}"#),
            ("key_read", "{}"), ("key_read", #"{"key":"a","pattern":"b"}"#),
            ("key_write", #"{"key":"a"}"#), ("key_write", #"{"key":"a","value":1,"delete":true}"#),
            ("claim", #"{"key":"a","do":"renew"}"#), ("task_next", #"{"swarm":"s","wait":56}"#),
            ("memory_list", #"{"limit":0}"#),
        ] {
            #expect(throws: ToolFailure.self, "\(tool) \(arguments)") { _ = try plan(tool, arguments) }
        }
    }

    @Test("A refusal says what to do next, in terms of tools")
    func hints() throws {
        for (code, word) in [
            (ErrorCode.staleFence, "not yours"), (.held, "wait"), (.guarded, "tools"), (.notMember, "swarm_join"),
            (.absent, "swarm_init"), (.exists, "another"),
        ] {
            let failure = ToolFailure(Refusal(code, "no"))
            #expect(failure.hint?.contains(word) == true, "\(code): \(failure.hint ?? "")")
            #expect(try JSONObject(failure.json).string("code") == code.rawValue)
        }
    }
}
