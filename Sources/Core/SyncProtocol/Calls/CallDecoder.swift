import Registers

/// Reads calls.
struct CallDecoder {
    /// How many tasks one submission may have.
    static let maximumTasks = 1_024
    static let maximumDependencies = 256
    private static let maximumCapabilities = 64
    private static let maximumPriority = 1_000_000
    private static let maximumAttempts = 100
    private static let maximumMailSize = 64 << 10
    private static let maximumAcknowledged = 256
    /// In seconds.
    private static let leases = 1.0...86_400.0
    private static let waits = 0.0...60.0

    /// The greatest size of an input or a result, in bytes of JSON.
    let maximumValueSize: Int

    /// - Parameters:
    ///   - text: the whole message, whose grammar has been checked.
    ///   - op: by which it is known again.
    func decode(_ name: Call.Name, _ text: [UInt8], id: RequestID?, op: [UInt8]?) throws(WireError) -> Call {
        let object: JSONObject
        do throws(JSONError) {
            object = try JSONObject(text)
        } catch {
            throw WireError(.badJSON, error.description)
        }
        let fields = CallFields(object, of: name.rawValue)
        if let repeated = fields.repeated { throw WireError(.badMessage, "field \"\(repeated)\" stands twice") }
        let swarm = try fields.segment("swarm")
        return Call(
            name, id: id, op: op, fingerprint: op == nil ? 0 : Self.fingerprint(object), swarm: swarm,
            action: try action(name, fields), size: text.count)
    }

    /// A hash of all fields but the id, which a resend has another of.
    private static func fingerprint(_ object: JSONObject) -> UInt64 {
        var hash = FNV1a()
        for (name, value) in object.members where name != "id" {
            hash.add(Array(name.utf8).span)
            hash.add(0)
            hash.add(value.span)
            hash.add(0)
        }
        return hash.hash
    }

    private func action(_ name: Call.Name, _ fields: CallFields) throws(WireError) -> Call.Action {
        switch name {
        case .swarmInit: .initialize(try settings(fields))
        case .swarmJoin: .join(try membership(fields))
        case .swarmLeave: .leave
        case .swarmStatus: .status
        case .swarmEnd: .end
        case .taskSubmit: .submit(try tasks(fields))
        case .taskNext: .next(try next(fields))
        case .taskProgress:
            .progress(try fenced(fields), value: try value("value", fields))
        case .taskComplete: .complete(try fenced(fields), result: try value("result", fields))
        case .taskFail:
            .fail(try fenced(fields), error: try value("error", fields), retries: try fields.bool("retry") ?? false)
        case .taskRelease: .release(try fenced(fields))
        case .taskPark: .park(try fenced(fields), reason: try reason(fields))
        case .taskResume: .resume(try fields.segment("task"))
        case .taskRetry: .retry(try fields.segment("task"), cascades: try fields.bool("cascade") ?? false)
        case .taskCancel: .cancel(try fields.segment("task"), cascades: try fields.bool("cascade") ?? false)
        case .taskAssign: .assign(try fields.segment("task"), to: try fields.optionalSegment("agent_id"))
        case .taskRevoke: .revoke(try fields.segment("task"))
        case .taskDepend: .depend(try fields.segment("task"), on: try dependencies("on", fields))
        case .messageSend: .send(try mail(fields))
        case .messageAcknowledge: .acknowledge(try keys(fields))
        }
    }

    private func value(_ name: String, _ fields: CallFields) throws(WireError) -> [UInt8]? {
        try fields.json(name, maximumSize: maximumValueSize)
    }

    private func settings(_ fields: CallFields) throws(WireError) -> SwarmSettings {
        var settings = SwarmSettings()
        settings.topology = try fields.choice("topology", Topology.self)
        settings.coordinator = try fields.optionalSegment("coordinator")
        settings.maximumAgents = try fields.integer("max_agents", in: 1...4_096)
        settings.maximumAttempts = try fields.integer("max_attempts", in: 0...Self.maximumAttempts)
        settings.lease = try fields.seconds("lease", in: Self.leases)
        settings.failurePolicy = try fields.choice("on_dependency_failure", FailurePolicy.self)
        settings.aging = try fields.integer("aging", in: 0...86_400)
        settings.mirrors = try fields.bool("mirror")
        return settings
    }

    private func membership(_ fields: CallFields) throws(WireError) -> Membership {
        var membership = Membership()
        membership.role = try fields.text("role")
        membership.parent = try fields.optionalSegment("parent")
        membership.position = try fields.integer("position", in: 0...1_000_000)
        membership.capabilities =
            fields.raw("capabilities") == nil
            ? nil : try fields.strings("capabilities", maximum: Self.maximumCapabilities)
        membership.timeToLive = try fields.seconds("ttl", in: Self.leases)
        membership.presence = try fields.optionalSegment("presence")
        return membership
    }

    private func tasks(_ fields: CallFields) throws(WireError) -> [NewTask] {
        var tasks: [NewTask] = []
        for (index, one) in try fields.objects("tasks", 1...Self.maximumTasks).enumerated() {
            do throws(WireError) {
                tasks.append(try task(one))
            } catch {
                var error = error
                error.message = "tasks[\(index)]: \(error.message)"
                throw error
            }
        }
        return tasks
    }

    private static let taskFields: Set<String> = [
        "id", "input", "priority", "dependencies", "agent_id", "capabilities", "parent", "max_attempts",
        "on_dependency_failure", "not_before",
    ]

    private func task(_ fields: CallFields) throws(WireError) -> NewTask {
        // A mistyped "dependencies" would be a task that waits for nothing.
        if let unknown = fields.unknown(beside: Self.taskFields) {
            throw WireError(
                .badMessage, "there is no field \"\(unknown.prefix(40))\"",
                hint: "a task has " + Self.taskFields.sorted().joined(separator: ", "))
        }
        var task = NewTask()
        task.id = try fields.optionalSegment("id")
        task.input = try value("input", fields)
        task.priority = try fields.integer("priority", in: -Self.maximumPriority...Self.maximumPriority) ?? 0
        task.dependencies = try dependencies("dependencies", fields)
        task.agent = try fields.optionalSegment("agent_id")
        task.capabilities = try fields.strings("capabilities", maximum: Self.maximumCapabilities)
        task.parent = try fields.optionalSegment("parent")
        task.maximumAttempts = try fields.integer("max_attempts", in: 0...Self.maximumAttempts)
        task.failurePolicy = try fields.choice("on_dependency_failure", FailurePolicy.self)
        task.notBefore = try fields.seconds("not_before", in: 0...253_402_300_799).map(WallTime.init(milliseconds:))
        return task
    }

    private func dependencies(_ name: String, _ fields: CallFields) throws(WireError) -> [Segment] {
        try fields.segments(name, maximum: Self.maximumDependencies)
    }

    private func next(_ fields: CallFields) throws(WireError) -> NextTask {
        var next = NextTask()
        next.capabilities = Set(try fields.strings("capabilities", maximum: Self.maximumCapabilities))
        next.lease = try fields.seconds("lease", in: Self.leases)
        if let until = try fields.string("until") {
            guard until == Array("disconnect".utf8) else { throw CallFields.wrong("until", "\"disconnect\"") }
            guard next.lease == nil else {
                throw WireError(.badMessage, "\"until\" and \"lease\" do not go together: which is to end the claim?")
            }
            next.endsWithConnection = true
        }
        next.wait = try fields.seconds("wait", in: Self.waits) ?? 0
        return next
    }

    private func fenced(_ fields: CallFields) throws(WireError) -> FencedTask {
        FencedTask(task: try fields.segment("task"), fence: try fields.fence())
    }

    private func reason(_ fields: CallFields) throws(WireError) -> String? {
        try fields.text("reason", maximumLength: 1_024).map { String(decoding: $0, as: UTF8.self) }
    }

    private func mail(_ fields: CallFields) throws(WireError) -> Mail {
        let to = try fields.optionalSegment("to")
        let isForBoard = try fields.bool("board") ?? false
        if isForBoard, to != nil {
            throw WireError(.badMessage, "\"to\" and \"board\" do not go together: who is to read it?")
        }
        guard isForBoard == (to == nil) else {
            throw WireError(.missingField, "message.send needs \"to\" with an agent's name, or \"board\":true")
        }
        guard let body = try fields.json("body", maximumSize: Self.maximumMailSize) else {
            throw fields.missing("body")
        }
        var mail = Mail(to: to, body: body)
        mail.kind = try fields.text("kind")
        mail.replyTo = try fields.text("reply_to", maximumLength: Key.maximumLength)
        return mail
    }

    private func keys(_ fields: CallFields) throws(WireError) -> [Key] {
        var keys: [Key] = []
        for text in try fields.strings("keys", maximum: Self.maximumAcknowledged) {
            do throws(TextError) {
                try Key.validate(text.span)
            } catch {
                throw WireError(.badKey, error.description)
            }
            keys.append(Key(unchecked: text))
        }
        if keys.isEmpty {
            if fields.raw("keys") == nil { throw fields.missing("keys") }
            throw WireError(.badMessage, "\"keys\" has 1 to \(Self.maximumAcknowledged) elements; there are none")
        }
        return keys
    }
}
