import Agents
import Registers
import SyncProtocol

/// Tools for what agents remember and know.
enum MemoryTools {
    private static let agent = ToolField("agent", .text, "whose; default: you")
    private static let key = ToolField("key", .text, required: true)
    private static let expect = ToolField("expect", .textOrNull, "version that must be in place; null: none")
    /// How many bytes of values a list of things may show of each.
    static let longestShown = 2_048

    static let all = [store, get, list, delete, search, add]

    private static let store = Tool(
        "memory_store", "Remember a value under a key. Durable when answered; every subscriber sees it.", .repeats,
        [
            key, ToolField("value", .any, required: true, "any JSON"), agent,
            ToolField("ttl", .number, "seconds to live"), ToolField("tags", .texts), ToolField("metadata", .object),
            expect,
        ],
        output: ["key": #"{"type":"string"}"#, "version": #"{"type":"string"}"#, "expires_at": #"{"type":"integer"}"#]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("memory.put")
        message.add("agent", arguments.text("agent") ?? requester.namespace)
        try message.add(["key", "value", "ttl", "tags", "metadata", "expect"], of: arguments)
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in
                var result = JSONWriter()
                result.add(["key", "version", "expires_at"], of: answer)
                return .done(result.finish())
            })
    }

    private static let get = Tool(
        "memory_get", "What is remembered under a key; where there is nothing, who else has that key.", .reads,
        [key, agent],
        output: [
            "found": #"{"type":"boolean"}"#, "value": "{}", "version": #"{"type":"string"}"#,
            "agents": #"{"type":"array"}"#,
        ]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("memory.get")
        message.add("agent", arguments.text("agent") ?? requester.namespace)
        message.add("key", arguments.text("key"))
        return Plan(
            .ask(message) { answer in
                var result = JSONWriter()
                // Written by hand it has no mark of being found.
                result.add("found", answer.bool("found") != false)
                result.add(["key", "value", "version", "expires_at", "metadata", "agents"], of: answer)
                return .done(result.finish())
            })
    }

    private static let list = Tool(
        "memory_list", "What an agent remembers, by key.", .reads,
        [
            agent, ToolField("prefix", .text), ToolField("limit", .whole(1...1_000), "default 50"),
            ToolField("cursor", .text, "next of the last answer"),
        ],
        output: ["memories": #"{"type":"array","items":{"type":"object"}}"#, "next": #"{"type":"string"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let agent = arguments.text("agent") ?? requester.namespace
        var message = SyncMessage("memory.list")
        message.add("agent", agent)
        message.add("prefix", arguments.text("prefix"))
        message.add("limit", arguments.number("limit") ?? 50)
        message.add("after", arguments.text("cursor"))
        let prefix = "memory:" + String(decoding: try SwarmPattern.segment(agent).escaped, as: UTF8.self) + ":"
        return Plan(
            .ask(message) { answer in
                var result = JSONWriter()
                let memories = Listed.of(answer).map { register in
                    var memory = JSONWriter()
                    let key = register.string("key") ?? ""
                    memory.add("key", key.hasPrefix(prefix) ? String(key.dropFirst(prefix.count)) : key)
                    Listed.show(register, &memory)
                    return memory.finish()
                }
                result.add("memories", elements: memories)
                result.add(["next"], of: answer)
                return .done(result.finish())
            })
    }

    private static let delete = Tool(
        "memory_delete", "Forget a key.", .destroys, [key, agent, expect],
        output: ["key": #"{"type":"string"}"#, "version": #"{"type":"string"}"#]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("memory.delete")
        message.add("agent", arguments.text("agent") ?? requester.namespace)
        try message.add(["key", "expect"], of: arguments)
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in
                var result = JSONWriter()
                result.add(["key", "version"], of: answer)
                return .done(result.finish())
            })
    }

    private static let search = Tool(
        "search",
        "Find memories and knowledge of all agents by words: all of them, \"a phrase\", begin*, OR. Says what it searched.",
        .reads,
        [
            ToolField("query", .text, required: true),
            ToolField("in", .oneOf(["memory", "knowledge"]), "default: both"),
            ToolField("agent", .text, "only what this one remembers"), ToolField("tags", .texts),
            ToolField("limit", .whole(1...Search.maximumLimit), "default 10"),
        ],
        output: [
            "results": #"{"type":"array","items":{"type":"object"}}"#, "searched": #"{"type":"object"}"#,
            "complete": #"{"type":"boolean"}"#,
        ]
    ) { arguments, _ throws(ToolFailure) in
        var message = SyncMessage("search")
        try message.add(["query", "agent", "tags", "limit"], of: arguments)
        if let kind = arguments.raw("in") { try message.add("in", given: [0x5B] + kind + [0x5D]) }
        return Plan(
            .ask(message) { answer in
                var result = JSONWriter()
                result.add(["results", "searched", "complete", "behind"], of: answer)
                return .done(result.finish())
            })
    }

    private static let add = Tool(
        "knowledge_add", "Note a fact for everybody. The same text twice is one entry with both sources.", .repeats,
        [
            ToolField("topic", .text, required: true), ToolField("content", .text, required: true),
            ToolField("tags", .texts), ToolField("source", .text), ToolField("confidence", .number, "0 to 1"),
        ],
        output: ["id": #"{"type":"string"}"#, "created": #"{"type":"boolean"}"#, "version": #"{"type":"string"}"#]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("knowledge.put")
        try message.add(["topic", "content", "tags", "source", "confidence"], of: arguments)
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in
                var result = JSONWriter()
                if let id = answer.raw("knowledge") { result.add("id", raw: id) }
                result.add(["key", "created", "version"], of: answer)
                return .done(result.finish())
            })
    }
}

/// Registers, as lists show them.
enum Listed {
    static func of(_ answer: JSONObject) -> [JSONObject] {
        (answer.array("registers") ?? []).compactMap { try? JSONObject($0) }
    }

    /// Writes what is of use; a long value is only said to be there.
    static func show(_ register: JSONObject, _ writer: inout JSONWriter) {
        if let value = register.raw("value") {
            if value.count <= MemoryTools.longestShown {
                writer.add("value", raw: value)
            } else {
                writer.add("truncated", true)
            }
        }
        writer.add(["version", "expires_at"], of: register)
    }
}
