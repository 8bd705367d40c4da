import Agents
import SyncProtocol

/// Tools for keys as they are.
enum KeyTools {
    static let all = [read, write, claim]

    private static let read = Tool(
        "key_read",
        "The value of a key, or what matches a pattern (* within a segment, ** anywhere; at the end * is the rest).",
        .reads,
        [
            ToolField("key", .text), ToolField("pattern", .text, "instead of key"),
            ToolField("limit", .whole(1...1_000), "default 50"),
            ToolField("cursor", .text, "next of the last answer"),
        ],
        output: [
            "found": #"{"type":"boolean"}"#, "value": "{}", "version": #"{"type":"string"}"#,
            "registers": #"{"type":"array","items":{"type":"object"}}"#, "next": #"{"type":"string"}"#,
        ]
    ) { arguments, _ throws(ToolFailure) in
        switch (arguments.text("key"), arguments.text("pattern")) {
        case (let key?, nil):
            var message = SyncMessage("get")
            message.add("key", key)
            return Plan(
                .ask(message) { answer in
                    var result = JSONWriter()
                    result.add(
                        ["found", "key", "value", "version", "revision", "expires_at", "agent", "metadata"], of: answer)
                    return .done(result.finish())
                })
        case (nil, let pattern?):
            var message = SyncMessage("list")
            message.add("pattern", pattern)
            message.add("limit", arguments.number("limit") ?? 50)
            message.add("after", arguments.text("cursor"))
            return Plan(
                .ask(message) { answer in
                    let registers = Listed.of(answer)
                    var result = JSONWriter()
                    result.add("found", !registers.isEmpty)
                    result.add("registers", elements: registers.map(shown))
                    result.add(["next"], of: answer)
                    return .done(result.finish())
                })
        default: throw .argument("key_read: give key, or pattern, and not both")
        }
    }

    private static func shown(_ register: JSONObject) -> [UInt8] {
        var writer = JSONWriter()
        writer.add(["key"], of: register)
        Listed.show(register, &writer)
        return writer.finish()
    }

    private static let write = Tool(
        "key_write", "Write or delete a key; all subscribers see it. Swarms' own keys have tools of their own.",
        .destroys,
        [
            ToolField("key", .text, required: true), ToolField("value", .any, "any JSON"),
            ToolField("delete", .flag, "instead of value"), ToolField("ttl", .number, "seconds to live"),
            ToolField("expect", .textOrNull, "version that must be in place; null: none"),
        ],
        output: ["key": #"{"type":"string"}"#, "version": #"{"type":"string"}"#, "revision": #"{"type":"integer"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let deletes = arguments.flag("delete") == true
        guard deletes != arguments.has("value") else {
            throw .argument("key_write: give value, or delete, and not both")
        }
        if deletes, arguments.has("ttl") { throw .argument("key_write: what is deleted has no ttl") }
        var message = SyncMessage(deletes ? "delete" : "broadcast")
        try message.add(["key", "value", "ttl", "expect"], of: arguments)
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in
                var result = JSONWriter()
                result.add(["key", "version", "revision", "expires_at"], of: answer)
                return .done(result.finish())
            })
    }

    private static let claim = Tool(
        "claim", "Hold a key alone for a time, such as file:<path>: of all who ask one gets it.", .acts,
        [
            ToolField("key", .text, required: true),
            ToolField("do", .oneOf(["claim", "renew", "release"]), required: true),
            ToolField("ttl", .number, "seconds; default 1800"),
            ToolField("fence", .whole(0...Int.max), "from the claim; to renew and release"),
            ToolField("value", .any, "what others see"), ToolField("agent", .text, "you, where nothing else says it"),
        ],
        output: ["key": #"{"type":"string"}"#, "fence": #"{"type":"integer"}"#, "expires_at": #"{"type":"integer"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let agent = try requester.actor(arguments.text("agent"))
        let word = try arguments.required("do")
        if word != "claim", !arguments.has("fence") { throw .argument("claim: \(word) needs the fence of the claim") }
        var message = SyncMessage(word)
        message.add("key", arguments.text("key"))
        if word != "claim" { try message.add("fence", given: arguments.raw("fence")) }
        if word != "release" {
            try message.add("ttl", given: arguments.raw("ttl") ?? Array("1800".utf8))
            try message.add("value", given: arguments.raw("value"))
        }
        return Plan(
            as: agent,
            .ask(message) { answer in
                var result = JSONWriter()
                result.add(["key", "fence", "expires_at", "version"], of: answer)
                return .done(result.finish())
            })
    }
}
