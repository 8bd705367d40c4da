import Agents
import SyncProtocol

/// Tools for the tasks of swarms.
enum TaskTools {
    static let all = [submit, next, update, complete, fail, list]

    private static let task = ToolField("task", .text, required: true)
    private static let fence = ToolField("fence", .whole(0...Int.max), required: true, "from task_next")
    private static let statuses = [
        "pending", "ready", "blocked", "working", "parked", "completed", "failed", "cancelled",
    ]
    /// How many keys a list of tasks looks at.
    private static let maximumPages = 20

    private static let submit = Tool(
        "task_submit",
        "Give a swarm tasks, all or none. A task is ready when all its dependencies are completed; cycles are refused.",
        .acts,
        [
            SwarmTools.swarm,
            ToolField(
                "tasks",
                .objects([
                    ToolField("id", .text, "default: made up"), ToolField("input", .any, "what to do"),
                    ToolField("priority", .whole(-1_000_000...1_000_000), "greater first"),
                    ToolField("dependencies", .texts, "ids, of this call too"),
                    ToolField("agent", .text, "for this one"), ToolField("capabilities", .texts, "needed"),
                ]), required: true), SwarmTools.agent,
        ],
        output: ["ids": #"{"type":"array","items":{"type":"string"}}"#, "ready": #"{"type":"integer"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let tasks = (arguments.object.array("tasks") ?? []).compactMap { try? JSONObject($0) }.map { task in
            var writer = JSONWriter()
            for (name, value) in task.members { writer.add(named: name == "agent" ? "agent_id" : name, raw: value) }
            return writer.finish()
        }
        var message = SyncMessage("task.submit")
        message.add("swarm", arguments.text("swarm"))
        try message.add("tasks", given: [0x5B] + Array(tasks.joined(separator: [0x2C])) + [0x5D])
        return Plan(
            as: arguments.text("agent") ?? requester.agent ?? requester.client.map(Requester.name),
            .ask(message, then: SwarmTools.passed))
    }

    private static let next = Tool(
        "task_next",
        "Get a ready task, for you alone until its lease is over. Any call of yours renews the lease. Finish with task_complete or task_fail and the fence. task is null when there is none.",
        .acts,
        [
            SwarmTools.swarm, ToolField("capabilities", .texts, "what you can do"),
            ToolField("lease", .whole(1...86_400), "seconds; default 1800"), SwarmTools.wait, SwarmTools.agent,
        ],
        output: [
            "task": #"{"type":["object","null"]}"#, "input": "{}", "fence": #"{"type":"integer"}"#,
            "expires_at": #"{"type":"integer"}"#,
        ]
    ) { arguments, requester throws(ToolFailure) in
        var message = SyncMessage("task.next")
        try message.add(["swarm", "capabilities"], of: arguments)
        message.add("lease", arguments.number("lease") ?? AgentPresence.patience)
        let wait = arguments.number("wait") ?? 0
        let agent = try requester.actor(arguments.text("agent"))
        guard wait > 0 else { return Plan(as: agent, .ask(message, then: handedOut)) }
        message.add("wait", wait)
        return Plan(as: agent, .wait(message, then: handedOut))
    }

    @Sendable static func handedOut(_ answer: JSONObject) throws(ToolFailure) -> Step {
        var result = JSONWriter()
        guard let row = answer.object("task"), let swarm = row.string("swarm_id"), let name = row.string("task_id")
        else {
            result.add("task", raw: Array("null".utf8))
            return .done(result.finish())
        }
        var shown = JSONWriter()
        shown.add(
            ["task_id", "swarm_id", "priority", "dependencies", "attempt", "max_attempts", "capabilities"], of: row)
        result.add("task", raw: shown.finish())
        result.add(["input", "fence", "expires_at"], of: answer)
        var release = SyncMessage("task.release")
        release.add("swarm", swarm)
        release.add("task", name)
        try release.add("fence", given: answer.raw("fence"))
        return .done(Step.Outcome(result.finish(), giveBack: release))
    }

    private static let update = Tool(
        "task_update",
        "progress (renews the lease), park (until resume) or release a task of yours, by its fence; resume, cancel or retry any.",
        .acts,
        [
            SwarmTools.swarm, task,
            ToolField(
                "do", .oneOf(["progress", "park", "release", "resume", "cancel", "retry"]), required: true),
            ToolField("fence", .whole(0...Int.max), "for progress, park, release"),
            ToolField("note", .text, "what was done, or why"),
            ToolField("cascade", .flag, "cancel, retry: dependents too"),
            SwarmTools.agent,
        ],
        output: ["task": #"{"type":"object"}"#]
    ) { arguments, requester throws(ToolFailure) in
        let word = try arguments.required("do")
        let isHolders = ["progress", "park", "release"].contains(word)
        guard isHolders == arguments.has("fence") else {
            throw .argument(
                isHolders
                    ? "task_update: \(word) needs the fence from task_next" : "task_update: \(word) takes no fence")
        }
        var message = SyncMessage("task." + word)
        try message.add(["swarm", "task", "fence"], of: arguments)
        if let note = arguments.raw("note") {
            switch word {
            case "progress": try message.add("value", given: Array("{\"message\":".utf8) + note + [0x7D])
            case "park": try message.add("reason", given: note)
            default: throw .argument("task_update: \(word) takes no note")
            }
        }
        if arguments.has("cascade") {
            guard ["cancel", "retry"].contains(word) else {
                throw .argument("task_update: \(word) has no cascade")
            }
            try message.add("cascade", given: arguments.raw("cascade"))
        }
        return Plan(as: try requester.actor(arguments.text("agent")), .ask(message, then: SwarmTools.passed))
    }

    private static let complete = Tool(
        "task_complete",
        "Finish a task: its dependents become ready. The same fence again is answered as the first time.",
        .repeats,
        [SwarmTools.swarm, task, fence, ToolField("result", .any, "any JSON"), SwarmTools.agent],
        output: ["task": #"{"type":"object"}"#]
    ) { arguments, requester throws(ToolFailure) in
        try finish("task.complete", ["swarm", "task", "fence", "result"], arguments, requester)
    }

    private static let fail = Tool(
        "task_fail", "Say that a task could not be done; with retry it is tried again.", .repeats,
        [
            SwarmTools.swarm, task, fence, ToolField("error", .any, "what went wrong"), ToolField("retry", .flag),
            SwarmTools.agent,
        ],
        output: ["task": #"{"type":"object"}"#]
    ) { arguments, requester throws(ToolFailure) in
        try finish("task.fail", ["swarm", "task", "fence", "error", "retry"], arguments, requester)
    }

    private static func finish(
        _ call: String, _ names: [String], _ arguments: ToolArguments, _ requester: Requester
    ) throws(ToolFailure) -> Plan {
        var message = SyncMessage(call)
        try message.add(names, of: arguments)
        return Plan(as: try requester.actor(arguments.text("agent")), .ask(message, then: SwarmTools.passed))
    }

    // MARK: Lists

    private static let list = Tool(
        "task_list", "The tasks of a swarm. blocked: those that wait for one that failed.", .reads,
        [
            SwarmTools.swarm, ToolField("status", .oneOf(statuses)),
            ToolField("limit", .whole(1...1_000), "default 50"),
            ToolField("cursor", .text, "next of the last answer"),
        ],
        output: ["tasks": #"{"type":"array","items":{"type":"object"}}"#, "next": #"{"type":"string"}"#]
    ) { arguments, _ throws(ToolFailure) in
        Plan(
            try rows(
                of: arguments.required("swarm"), status: arguments.text("status"),
                limit: Int(arguments.number("limit") ?? 50), after: arguments.text("cursor")))
    }

    /// The rows of a swarm's tasks, under `tasks`.
    static func rows(
        of swarm: String, status: String?, limit: Int, after: String?
    ) throws(ToolFailure) -> Step {
        guard status != "blocked" else {
            var message = SyncMessage("swarm.status")
            message.add("swarm", swarm)
            return .ask(message) { answer in
                var result = JSONWriter()
                result.add("tasks", elements: Array((answer.array("blocked") ?? []).prefix(limit)))
                return .done(result.finish())
            }
        }
        let pattern = try SwarmPattern.of(swarm, "task:*")
        return page(pattern, status, limit: limit, after: after, found: [], pages: 1)
    }

    /// Goes on until there are enough: among the keys of tasks are those of what belongs to them.
    private static func page(
        _ pattern: String, _ status: String?, limit: Int, after: String?, found: [[UInt8]], pages: Int
    ) -> Step {
        var message = SyncMessage("list")
        message.add("pattern", pattern)
        message.add("limit", 1_000)
        message.add("after", after)
        return .ask(message) { answer in
            var found = found
            var last = after
            var isCut = false
            for register in Listed.of(answer) {
                if found.count == limit {
                    isCut = true
                    break
                }
                let key = register.string("key") ?? ""
                last = key
                guard key.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 3, let row = register.object("value"),
                    status == nil || row.string("status") == status
                else { continue }
                found.append(shown(row))
            }
            let goesOn = isCut || answer.raw("next") != nil
            if goesOn, found.count < limit, pages < maximumPages {
                return page(pattern, status, limit: limit, after: last, found: found, pages: pages + 1)
            }
            var result = JSONWriter()
            result.add("tasks", elements: found)
            if goesOn, let last { result.add("next", last) }
            return .done(result.finish())
        }
    }

    private static func shown(_ row: JSONObject) -> [UInt8] {
        var task = JSONWriter()
        task.add(
            [
                "task_id", "status", "agent_id", "priority", "dependencies", "attempt", "not_before", "reason",
                "created_at", "completed_at",
            ], of: row)
        return task.finish()
    }
}
