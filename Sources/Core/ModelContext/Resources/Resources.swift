import Agents
import SyncProtocol

/// What can be read: registers, and what is made of them.
enum Resources {
    /// How many newest memories are in the list.
    private static let maximumMemories = 100
    private static let maximumSwarms = 100
    /// How many registers of a pattern are shown.
    private static let maximumListed: UInt64 = 100

    // MARK: Reading

    /// What reads a resource. Its outcome is the member `contents` of the result, an array.
    static func read(
        _ resource: ResourceURI, uri: String, _ requester: Requester, _ version: ProtocolVersion
    ) throws(ToolFailure) -> Step {
        switch resource {
        case .key(let key): return get(key, uri)
        case .keys(let pattern), .pattern(let pattern): return list(pattern, uri)
        case .memory(let agent, let key):
            var message = SyncMessage("memory.get")
            message.add("agent", agent)
            message.add("key", key)
            return .ask(message) { answer in found(answer, uri) }
        case .knowledge(let id):
            var message = SyncMessage("knowledge.get")
            message.add("knowledge", id)
            return .ask(message) { answer in found(answer, uri) }
        case .swarm(let swarm, .status):
            var message = SyncMessage("swarm.status")
            message.add("swarm", swarm)
            return .ask(message) { answer in
                .done(contents(uri, text: object(answer.members.filter { $0.name != "type" && $0.name != "id" })))
            }
        case .swarm(let swarm, let view):
            return then(
                try TaskTools.rows(of: swarm, status: view.rawValue, limit: Int(maximumListed), after: nil), uri)
        case .task(let swarm, let task): return try self.task(swarm, task, uri)
        case .inbox(let swarm, let agent): return list(try SwarmPattern.inbox(swarm, agent), uri)
        }
    }

    /// What a step comes to, as contents.
    private static func then(_ step: Step, _ uri: String) -> Step {
        switch step {
        case .ask(let messages, let next):
            .ask(messages) { answers throws(ToolFailure) in then(try next(answers), uri) }
        case .wait(let message, let next):
            .wait(message) { answer throws(ToolFailure) in then(try next(answer), uri) }
        case .watch(let pattern, let seconds, let next):
            .watch(pattern: pattern, seconds: seconds) { () throws(ToolFailure) in then(try next(), uri) }
        case .newestMemories(let limit, let next):
            .newestMemories(limit) { memories throws(ToolFailure) in then(try next(memories), uri) }
        case .done(let outcome): .done(contents(uri, text: outcome.json))
        }
    }

    private static func get(_ key: String, _ uri: String) -> Step {
        var message = SyncMessage("get")
        message.add("key", key)
        return .ask(message) { answer in found(answer, uri) }
    }

    /// A register; nothing where there is none.
    private static func found(_ answer: JSONObject, _ uri: String) -> Step {
        guard answer.bool("found") != false, let value = answer.raw("value") else { return .done(Array("[]".utf8)) }
        return .done(contents(uri, text: value, of: answer))
    }

    private static func list(_ pattern: String, _ uri: String) -> Step {
        var message = SyncMessage("list")
        message.add("pattern", pattern)
        message.add("limit", maximumListed)
        return .ask(message) { answer in
            let registers = Listed.of(answer)
            var result = JSONWriter()
            result.add(
                "registers",
                elements: registers.map { register in
                    var writer = JSONWriter()
                    writer.add(["key"], of: register)
                    writer.add("uri", ResourceURI.of(key: register.string("key") ?? ""))
                    Listed.show(register, &writer)
                    writer.add(["revision"], of: register)
                    return writer.finish()
                })
            result.add(["next"], of: answer)
            return .done(contents(uri, text: result.finish()))
        }
    }

    private static func task(_ swarm: String, _ task: String, _ uri: String) throws(ToolFailure) -> Step {
        let key = try SwarmPattern.task(swarm, task)
        let parts = [("task", ""), ("input", ":input"), ("progress", ":progress"), ("result", ":result")]
        let questions = parts.map { part in
            var message = SyncMessage("get")
            message.add("key", key + part.1)
            return message
        }
        return .ask(questions) { answers throws(ToolFailure) in
            let row = try answers[0].value
            guard row.bool("found") == true else { return .done(Array("[]".utf8)) }
            var result = JSONWriter()
            for (part, answer) in zip(parts, answers) {
                // Of what belongs to it whoever may read the row sees what it may.
                if let value = try? answer.get().raw("value") { result.add(named: part.0, raw: value) }
            }
            return .done(contents(uri, text: result.finish(), of: row))
        }
    }

    private static func object(_ members: [(name: String, value: [UInt8])]) -> [UInt8] {
        var writer = JSONWriter()
        for (name, value) in members { writer.add(named: name, raw: value) }
        return writer.finish()
    }

    /// - Parameter register: what says which revision it is of.
    private static func contents(_ uri: String, text: [UInt8], of register: JSONObject? = nil) -> [UInt8] {
        var content = JSONWriter()
        content.add("uri", uri)
        content.add("mimeType", "application/json")
        content.add("text", text)
        if let register {
            var metadata = JSONWriter()
            for name in ["revision", "version", "expires_at"] {
                if let value = register.raw(name) { metadata.add(named: "starling/" + name, raw: value) }
            }
            content.add("_meta", raw: metadata.finish())
        }
        return [0x5B] + content.finish() + [0x5D]
    }

    // MARK: Lists

    /// What is worth naming one by one: swarms, the requester's inboxes in them, and the memories that were written last. Its outcome is the member
    /// `resources`.
    static func all(_ requester: Requester) -> Step {
        var swarms = SyncMessage("list")
        swarms.add("pattern", "swarm:*:config")
        swarms.add("limit", maximumSwarms)
        return .ask([swarms]) { answers in
            var list: [[UInt8]] = []
            for register in (try? answers[0].get()).map(Listed.of) ?? [] {
                let parts = (register.string("key") ?? "").split(separator: ":", omittingEmptySubsequences: false)
                guard parts.count == 3, let name = URIText.decode(parts[1]) else { continue }
                list.append(entry(ResourceURI.swarm(name, "status"), "swarm \(name)", "Tasks and agents, counted now"))
                if let agent = requester.agent {
                    list.append(
                        entry(
                            ResourceURI.inbox(swarm: name, agent: agent), "messages for \(agent) in \(name)",
                            "What is not acknowledged"))
                }
            }
            return .newestMemories(maximumMemories) { [list] memories in
                let entries = memories.map { memory in
                    entry(
                        ResourceURI.memory(agent: memory.agent, key: memory.key), "\(memory.agent): \(memory.key)",
                        "What \(memory.agent) remembers")
                }
                return .done([0x5B] + Array((list + entries).joined(separator: [0x2C])) + [0x5D])
            }
        }
    }

    private static func entry(_ uri: String, _ name: String, _ description: String) -> [UInt8] {
        var entry = JSONWriter()
        entry.add("uri", uri)
        entry.add("name", name)
        entry.add("description", description)
        entry.add("mimeType", "application/json")
        return entry.finish()
    }

    static let templates: [(uri: String, name: String, description: String)] = [
        ("starling://keys/{+key}", "key", "A key's value; with * or ? what matches, told of key by key"),
        ("starling://patterns/{+pattern}", "pattern", "What matches a pattern, as one list"),
        ("starling://memory/{agent}/{+key}", "memory", "What an agent remembers under a key"),
        ("starling://knowledge/{id}", "knowledge", "A fact"),
        ("starling://swarms/{swarm}/status", "swarm", "Tasks and agents of a swarm, counted now"),
        ("starling://swarms/{swarm}/ready", "ready", "Tasks that can be begun"),
        ("starling://swarms/{swarm}/blocked", "blocked", "Tasks that wait for one that failed"),
        ("starling://swarms/{swarm}/tasks/{task}", "task", "A task with its input, progress and result"),
        ("starling://swarms/{swarm}/inbox/{agent}", "inbox", "An agent's messages that are not acknowledged"),
    ]

    /// The member `resourceTemplates`.
    static var templatesJSON: [UInt8] {
        let entries = templates.map { template in
            var entry = JSONWriter()
            entry.add("uriTemplate", template.uri)
            entry.add("name", template.name)
            entry.add("description", template.description)
            entry.add("mimeType", "application/json")
            return entry.finish()
        }
        return [0x5B] + Array(entries.joined(separator: [0x2C])) + [0x5D]
    }
}
