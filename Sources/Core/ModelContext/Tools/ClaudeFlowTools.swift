import Agents
import SyncProtocol

/// The tools that claude-flow's agents know by name, each with an effect: the same memories, swarms and tasks as everybody's.
enum ClaudeFlowTools {
    static let all = [
        memoryUsage, memorySearch, swarmInit, agentSpawn, agentList, taskOrchestrate, swarmStatus, taskStatus,
        taskResults,
        swarmDestroy,
    ]

    private static let namespace = ToolField("namespace", .text, "default: default")
    private static let swarmID = ToolField("swarmId", .text, "default: the newest swarm")
    private static let priorities = ["low": -10, "medium": 0, "high": 10, "critical": 20]
    /// How many swarms are looked at for the newest one.
    private static let maximumSwarms = 1_000

    private static func done(_ success: Bool, _ fill: (inout JSONWriter) -> Void) -> Step {
        var result = JSONWriter()
        result.add("success", success)
        fill(&result)
        return .done(result.finish())
    }

    // MARK: Memory

    private static let memoryUsage = Tool(
        "memory_usage", "Store, retrieve, list, delete or search memories of a namespace.", .acts,
        [
            ToolField("action", .oneOf(["store", "retrieve", "list", "delete", "search"]), required: true),
            ToolField("key", .text), ToolField("value", .any), namespace, ToolField("ttl", .number, "seconds"),
        ],
        output: ["success": #"{"type":"boolean"}"#, "found": #"{"type":"boolean"}"#, "value": "{}"]
    ) { arguments, requester throws(ToolFailure) in
        let action = try arguments.required("action")
        let namespace = arguments.text("namespace") ?? "default"
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name), try memory(action, namespace, arguments))
    }

    private static func memory(
        _ action: String, _ namespace: String, _ arguments: ToolArguments
    ) throws(ToolFailure) -> Step {
        func named(_ type: String) throws(ToolFailure) -> SyncMessage {
            guard let key = arguments.text("key") else { throw .argument("memory_usage: \(action) needs a key") }
            var message = SyncMessage(type)
            message.add("agent", namespace)
            message.add("key", key)
            return message
        }
        switch action {
        case "store":
            var message = try named("memory.put")
            guard arguments.has("value") else { throw .argument("memory_usage: store needs a value") }
            try message.add(["value", "ttl"], of: arguments)
            return .ask(message) { answer in
                done(true) { result in
                    result.add(["version", "expires_at"], of: answer)
                    result.add("stored", true)
                    result.add("namespace", namespace)
                }
            }
        case "retrieve":
            return .ask(try named("memory.get")) { answer in
                done(true) { result in
                    result.add("found", answer.bool("found") != false)
                    result.add("value", raw: answer.raw("value") ?? Array("null".utf8))
                    result.add(["version", "expires_at", "agents"], of: answer)
                    result.add("namespace", namespace)
                }
            }
        case "delete":
            return .ask(try named("memory.delete")) { answer in done(true) { $0.add(["key", "version"], of: answer) } }
        case "list":
            return list(namespace, prefix: arguments.text("key"))
        default:
            guard let words = arguments.text("key") ?? arguments.text("value") else {
                throw .argument("memory_usage: search needs words, in key")
            }
            return search(words, arguments.text("namespace"), limit: 10)
        }
    }

    private static func list(_ namespace: String, prefix: String?) -> Step {
        var message = SyncMessage("memory.list")
        message.add("agent", namespace)
        message.add("prefix", prefix)
        return .ask(message) { answer in
            done(true) { result in
                result.add(
                    "entries",
                    elements: Listed.of(answer).map { register in
                        var entry = JSONWriter()
                        entry.add(["key"], of: register)
                        Listed.show(register, &entry)
                        return entry.finish()
                    })
                result.add(["next"], of: answer)
            }
        }
    }

    private static func search(_ words: String, _ namespace: String?, limit: UInt64) -> Step {
        var message = SyncMessage("search")
        message.add("query", words)
        message.add("agent", namespace)
        message.add("limit", limit)
        return .ask(message) { answer in
            done(true) { $0.add(["results", "searched", "complete", "behind"], of: answer) }
        }
    }

    private static let memorySearch = Tool(
        "memory_search", "Find memories and knowledge, of all namespaces where none is named.", .reads,
        [
            ToolField("pattern", .text, required: true, "words"), ToolField("namespace", .text, "default: all"),
            ToolField("limit", .whole(1...Search.maximumLimit)),
        ],
        output: ["success": #"{"type":"boolean"}"#, "results": #"{"type":"array","items":{"type":"object"}}"#]
    ) { arguments, _ throws(ToolFailure) in
        Plan(
            search(
                try arguments.required("pattern"), arguments.text("namespace"), limit: arguments.number("limit") ?? 10))
    }

    // MARK: Swarms

    /// The swarm that is meant: the one that is named, else the newest that has not been ended.
    private static func withSwarm(
        _ arguments: ToolArguments, _ then: @escaping @Sendable (String) throws(ToolFailure) -> Step
    ) throws(ToolFailure) -> Step {
        if let swarm = arguments.text("swarmId") { return try then(swarm) }
        var message = SyncMessage("list")
        message.add("pattern", "swarm:*:config")
        message.add("limit", maximumSwarms)
        return .ask(message) { answer throws(ToolFailure) in
            let swarms = Listed.of(answer).compactMap { register -> (name: String, at: Int64)? in
                guard let value = register.object("value"), value.raw("ended_at") == nil,
                    let made = value.integer("created_at"),
                    let name = register.string("key").flatMap(name(ofConfig:))
                else { return nil }
                return (name, made)
            }
            guard let newest = swarms.max(by: { $0.at < $1.at }) else {
                throw ToolFailure(.absent, "there is no swarm", hint: "swarm_init makes one")
            }
            return try then(newest.name)
        }
    }

    private static func name(ofConfig key: String) -> String? {
        let parts = key.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 3 ? URIText.decode(parts[1]) : nil
    }

    private static let swarmInit = Tool(
        "swarm_init", "Make a swarm.", .repeats,
        [
            ToolField("topology", .oneOf(Topology.allCases.map(\.rawValue)), required: true),
            ToolField("maxAgents", .whole(1...4_096)), ToolField("swarmId", .text, "default: default"),
            ToolField("coordinator", .text, "of a star"),
        ],
        output: [
            "success": #"{"type":"boolean"}"#, "swarmId": #"{"type":"string"}"#, "created": #"{"type":"boolean"}"#,
        ]
    ) { arguments, requester throws(ToolFailure) in
        let swarm = arguments.text("swarmId") ?? "default"
        var message = SyncMessage("swarm.init")
        message.add("swarm", swarm)
        try message.add("topology", given: arguments.raw("topology"))
        try message.add("max_agents", given: arguments.raw("maxAgents"))
        let isStar = arguments.text("topology") == Topology.star.rawValue
        message.add("coordinator", arguments.text("coordinator") ?? (isStar ? requester.agent : nil))
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in
                done(true) { result in
                    result.add("swarmId", swarm)
                    result.add(["created", "config"], of: answer)
                }
            })
    }

    private static let agentSpawn = Tool(
        "agent_spawn",
        "Make an agent a member of a swarm, so that it gets tasks and messages. It runs wherever you run it.",
        .repeats,
        [
            ToolField("type", .text, required: true, "its role"), ToolField("name", .text, required: true),
            ToolField("capabilities", .texts), swarmID,
        ],
        output: ["success": #"{"type":"boolean"}"#, "agentId": #"{"type":"string"}"#, "swarmId": #"{"type":"string"}"#]
    ) { arguments, _ throws(ToolFailure) in
        let name = try arguments.required("name")
        let step = try withSwarm(arguments) { swarm throws(ToolFailure) in
            var message = SyncMessage("swarm.join")
            message.add("swarm", swarm)
            message.add("role", arguments.text("type"))
            try message.add("capabilities", given: arguments.raw("capabilities"))
            message.add("ttl", AgentPresence.patience)
            message.add("presence", AgentPresence.name)
            return .ask(message) { _ in
                done(true) { result in
                    result.add("agentId", name)
                    result.add("swarmId", swarm)
                }
            }
        }
        return Plan(as: name, step)
    }

    private static func status(
        _ arguments: ToolArguments, _ members: [String]
    ) throws(ToolFailure) -> Step {
        try withSwarm(arguments) { swarm throws(ToolFailure) in
            var message = SyncMessage("swarm.status")
            message.add("swarm", swarm)
            return .ask(message) { answer in
                done(true) { result in
                    result.add("swarmId", swarm)
                    result.add(members, of: answer)
                }
            }
        }
    }

    private static let agentList = Tool(
        "agent_list", "The members of a swarm, who of them is there, and their tasks.", .reads, [swarmID],
        output: ["success": #"{"type":"boolean"}"#, "agents": #"{"type":"array","items":{"type":"object"}}"#]
    ) { arguments, _ throws(ToolFailure) in Plan(try status(arguments, ["agents"])) }

    private static let swarmStatus = Tool(
        "swarm_status", "What a swarm is doing, counted now.", .reads, [swarmID],
        output: ["success": #"{"type":"boolean"}"#, "tasks": #"{"type":"object"}"#, "agents": #"{"type":"array"}"#]
    ) { arguments, _ throws(ToolFailure) in
        Plan(
            try status(
                arguments,
                ["config", "tasks", "waiting", "completed_last_minute", "longest_chain", "agents", "blocked"]))
    }

    private static let swarmDestroy = Tool(
        "swarm_destroy", "End a swarm: what is not done is cancelled.", .destroys,
        [ToolField("swarmId", .text, required: true)],
        output: ["success": #"{"type":"boolean"}"#, "cancelled": #"{"type":"integer"}"#]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("swarm.end")
        message.add("swarm", arguments.text("swarmId"))
        return Plan(
            as: requester.agent ?? requester.client.map(Requester.name),
            .ask(message) { answer in done(true) { $0.add(["swarm", "cancelled"], of: answer) } })
    }

    // MARK: Tasks

    private static let taskOrchestrate = Tool(
        "task_orchestrate", "Give a swarm a task; agents take it by asking for the next one.", .acts,
        [
            ToolField("task", .text, required: true, "what to do"),
            ToolField("priority", .oneOf(["low", "medium", "high", "critical"])),
            ToolField("dependencies", .texts, "ids of tasks"), swarmID,
        ],
        output: ["success": #"{"type":"boolean"}"#, "taskId": #"{"type":"string"}"#, "swarmId": #"{"type":"string"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let step = try withSwarm(arguments) { swarm throws(ToolFailure) in
            var task = JSONWriter()
            task.add(named: "input", raw: arguments.raw("task") ?? [])
            task.add("priority", number: priorities[arguments.text("priority") ?? "medium"] ?? 0)
            if let dependencies = arguments.raw("dependencies") { task.add("dependencies", raw: dependencies) }
            var message = SyncMessage("task.submit")
            message.add("swarm", swarm)
            try message.add("tasks", given: [0x5B] + task.finish() + [0x5D])
            return .ask(message) { answer in
                done(true) { result in
                    if let id = (answer.array("ids") ?? []).first { result.add("taskId", raw: id) }
                    result.add("swarmId", swarm)
                    result.add("ready", answer.integer("ready") == 1)
                }
            }
        }
        return Plan(as: requester.agent ?? requester.client.map(Requester.name), step)
    }

    private static func taskPart(
        _ arguments: ToolArguments, _ suffix: String, _ member: StaticString
    ) throws(ToolFailure) -> Step {
        let task = try arguments.required("taskId")
        return try withSwarm(arguments) { swarm throws(ToolFailure) in
            let key = try SwarmPattern.task(swarm, task)
            let questions = ["", suffix].map { suffix in
                var message = SyncMessage("get")
                message.add("key", key + suffix)
                return message
            }
            return .ask(questions) { answers throws(ToolFailure) in
                guard let row = try answers[0].value.object("value") else {
                    throw ToolFailure(.absent, "there is no task \(task) in swarm \(swarm)")
                }
                let value = try answers[1].value.raw("value")
                return done(true) { result in
                    result.add("taskId", task)
                    result.add("swarmId", swarm)
                    result.add(["status", "agent_id", "attempt", "completed_at"], of: row)
                    result.add(member, raw: value ?? Array("null".utf8))
                }
            }
        }
    }

    private static let taskFields = [ToolField("taskId", .text, required: true), swarmID]

    private static let taskStatus = Tool(
        "task_status", "The status of a task, and its progress.", .reads, taskFields,
        output: ["success": #"{"type":"boolean"}"#, "status": #"{"type":"string"}"#, "progress": "{}"]
    ) { arguments, _ throws(ToolFailure) in Plan(try taskPart(arguments, ":progress", "progress")) }

    private static let taskResults = Tool(
        "task_results", "The result of a task; null until it is completed.", .reads, taskFields,
        output: ["success": #"{"type":"boolean"}"#, "status": #"{"type":"string"}"#, "result": "{}"]
    ) { arguments, _ throws(ToolFailure) in Plan(try taskPart(arguments, ":result", "result")) }
}
