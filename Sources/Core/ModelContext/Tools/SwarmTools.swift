import Agents
import SyncProtocol

/// Tools for swarms and messages.
enum SwarmTools {
    /// The longest wait, in seconds: clients give up after a minute.
    static let longestWait = 55

    static let swarm = ToolField("swarm", .text, required: true)
    static let agent = ToolField("agent", .text, "you, where nothing else says it")
    static let wait = ToolField("wait", .whole(0...longestWait), "seconds to wait for one")

    static let all = [initialize, join, status] + TaskTools.all + [send, inbox]

    private static let initialize = Tool(
        "swarm_init", "Make a swarm: agents with tasks and messages. The same again is the same swarm.", .repeats,
        [
            swarm,
            ToolField(
                "topology", .oneOf(Topology.allCases.map(\.rawValue)), required: true, "who may message whom; mesh: all"
            ),
            ToolField("coordinator", .text, "of a star; default: you"), ToolField("max_agents", .whole(1...4_096)),
            ToolField("max_attempts", .whole(0...100)),
            ToolField("on_dependency_failure", .oneOf(FailurePolicy.allCases.map(\.rawValue))), agent,
        ],
        output: ["swarm": #"{"type":"string"}"#, "created": #"{"type":"boolean"}"#, "config": #"{"type":"object"}"#]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("swarm.init")
        try message.add(
            ["swarm", "topology", "max_agents", "max_attempts", "on_dependency_failure"], of: arguments)
        let isStar = arguments.text("topology") == Topology.star.rawValue
        let named = arguments.text("agent") ?? requester.agent
        message.add("coordinator", arguments.text("coordinator") ?? (isStar ? named : nil))
        return Plan(as: named ?? requester.client.map(Requester.name), .ask(message, then: passed))
    }

    /// The answer without what only pairs it with a question.
    @Sendable static func passed(_ answer: JSONObject) -> Step {
        var result = JSONWriter()
        result.add(answer.members.map(\.name).filter { $0 != "type" && $0 != "id" }, of: answer)
        return .done(result.finish())
    }

    private static let join = Tool(
        "swarm_join", "Become a member of a swarm. Says how many messages wait for you.", .repeats,
        [
            swarm, ToolField("role", .text), ToolField("capabilities", .texts, "what you can do"),
            ToolField("parent", .text, "in a hierarchy"), agent,
        ],
        output: [
            "swarm": #"{"type":"string"}"#, "agent_id": #"{"type":"string"}"#, "position": #"{"type":"integer"}"#,
            "unread": #"{"type":["integer","null"]}"#,
        ]
    ) { arguments, requester throws(ToolFailure) in
        let name = try requester.actor(arguments.text("agent"))
        var message = SyncMessage("swarm.join")
        try message.add(["swarm", "role", "capabilities", "parent"], of: arguments)
        message.add("ttl", AgentPresence.patience)
        message.add("presence", AgentPresence.name)
        var list = SyncMessage("list")
        list.add("pattern", try SwarmPattern.inbox(arguments.required("swarm"), name))
        list.add("limit", 1_000)
        return Plan(
            as: name,
            .ask(message) { [list] joined in
                .ask([list]) { answers in
                    var result = JSONWriter()
                    result.add(["swarm", "agent_id", "position"], of: joined)
                    let unread = try? answers[0].get()
                    result.add("unread", optional: unread.map { UInt64(Listed.of($0).count) })
                    return .done(result.finish())
                }
            })
    }

    private static let status = Tool(
        "swarm_status", "What a swarm is doing, counted now: tasks, agents and theirs, what is blocked by what.",
        .reads,
        [swarm],
        output: [
            "swarm": #"{"type":"string"}"#, "tasks": #"{"type":"object"}"#, "agents": #"{"type":"array"}"#,
            "blocked": #"{"type":"array"}"#,
        ]
    ) { arguments, _ throws(ToolFailure) in
        var message = SyncMessage("swarm.status")
        message.add("swarm", arguments.text("swarm"))
        return Plan(.ask(message, then: passed))
    }

    // MARK: Messages

    private static let send = Tool(
        "message_send", "Send a message to another member, or to the board, which all read.", .acts,
        [
            swarm, ToolField("to", .text, "a member"), ToolField("board", .flag, "instead of to"),
            ToolField("body", .any, required: true, "any JSON"), ToolField("kind", .text),
            ToolField("reply_to", .text, "key of a message"), agent,
        ],
        output: ["key": #"{"type":"string"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let isForBoard = arguments.flag("board") == true
        guard isForBoard != arguments.has("to") else {
            throw .argument("message_send: give to, or board, and not both")
        }
        var message = SyncMessage("message.send")
        try message.add(["swarm", "to", "body", "kind", "reply_to"], of: arguments)
        if isForBoard { message.add("board", true) }
        return Plan(as: try requester.actor(arguments.text("agent")), .ask(message, then: passed))
    }

    private static let inbox = Tool(
        "message_inbox",
        "Your messages that you have not acknowledged, oldest first; with wait, as soon as there are some. With board, the last to all.",
        .repeats,
        [
            swarm, ToolField("ack", .texts, "keys of messages that you have dealt with"), wait,
            ToolField("board", .flag), ToolField("limit", .whole(1...256), "default 20"), agent,
        ],
        output: ["messages": #"{"type":"array","items":{"type":"object"}}"#, "more": #"{"type":"boolean"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let name = try requester.actor(arguments.text("agent"))
        let swarm = try arguments.required("swarm")
        let isBoard = arguments.flag("board") == true
        let pattern = isBoard ? try SwarmPattern.of(swarm, "board:*") : try SwarmPattern.inbox(swarm, name)
        let look = inbox(
            pattern, limit: arguments.number("limit") ?? 20, wait: isBoard ? 0 : arguments.number("wait") ?? 0)
        guard !arguments.texts("ack").isEmpty else { return Plan(as: name, look) }
        var acknowledge = SyncMessage("message.ack")
        try acknowledge.add("swarm", given: arguments.raw("swarm"))
        try acknowledge.add("keys", given: arguments.raw("ack"))
        return Plan(as: name, .ask(acknowledge) { _ in look })
    }

    private static func inbox(_ pattern: String, limit: UInt64, wait: UInt64) -> Step {
        var list = SyncMessage("list")
        list.add("pattern", pattern)
        list.add("limit", limit)
        return .ask(list) { answer in
            let messages = Listed.of(answer)
            if messages.isEmpty, wait > 0 {
                return .watch(pattern: pattern, seconds: wait) { inbox(pattern, limit: limit, wait: 0) }
            }
            var result = JSONWriter()
            result.add("messages", elements: messages.map(shown))
            result.add("more", answer.raw("next") != nil)
            return .done(result.finish())
        }
    }

    private static func shown(_ register: JSONObject) -> [UInt8] {
        var message = JSONWriter()
        message.add(["key", "timestamp"], of: register)
        if let value = register.object("value") {
            message.add(["from", "to", "kind", "body", "reply_to"], of: value)
        }
        return message.finish()
    }
}
