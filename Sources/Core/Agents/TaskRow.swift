import NIOCore
package import Registers
package import SyncProtocol

/// A task as its register has it: `swarm:<swarm>:task:<task>`.
package struct TaskRow: Equatable, Sendable {
    package var swarm: Segment
    package var task: Segment
    /// Whom it is for, or who has it; nil: anybody.
    package var agent: Segment?
    /// Whom it was meant for when it was submitted or assigned: it goes back to that one.
    package var assignee: Segment?
    package var status: TaskStatus
    package var priority: Int
    package var dependencies: [Segment]
    /// How often it was handed out, as far as that counts.
    package var attempt: Int
    /// 0: as often as it takes.
    package var maximumAttempts: Int
    package var failurePolicy: FailurePolicy
    /// Before which it is not handed out, in milliseconds since 1970.
    package var notBefore: WallTime?
    /// Under which it was handed out last.
    package var fence: Fence?
    /// How long its lease lasts, in milliseconds; nil: as long as a connection.
    package var lease: UInt64?
    package var capabilities: [[UInt8]]
    package var parent: Segment?
    /// The task with which it was cancelled.
    package var cancelledBy: Segment?
    /// Why it is as it is, for a person.
    package var reason: String?
    /// In seconds since 1970, like all its times but fences and leases.
    package var createdAt: UInt64
    private static let greatestAttempt: Int64 = 1_000_000
    package var startedAt: UInt64?
    package var completedAt: UInt64?

    /// A new task, which has yet to be found ready.
    package init(
        _ new: NewTask, task: Segment, swarm: Segment, settings: SwarmConfiguration, now: WallTime
    ) {
        self.swarm = swarm
        self.task = task
        agent = new.agent
        assignee = new.agent
        status = .pending
        priority = new.priority
        dependencies = new.dependencies
        attempt = 0
        maximumAttempts = new.maximumAttempts ?? settings.maximumAttempts
        failurePolicy = new.failurePolicy ?? settings.failurePolicy
        notBefore = new.notBefore
        capabilities = new.capabilities
        parent = new.parent
        createdAt = now.seconds
    }
}

extension WallTime {
    /// Whole seconds since 1970, as the times of rows are.
    var seconds: UInt64 { milliseconds / 1_000 }
}

// MARK: As JSON

extension TaskRow {
    /// The value of its register.
    package var json: [UInt8] {
        var object = JSONWriter()
        object.add("id", swarm.escaped + [Key.separator] + task.escaped)
        object.add("swarm_id", swarm)
        object.add("task_id", task)
        object.add("agent_id", agent)
        object.add("status", status.rawValue)
        object.add("priority", number: priority)
        object.add("dependencies", dependencies.map(\.bytes))
        object.add("attempt", number: attempt)
        object.add("max_attempts", number: maximumAttempts)
        object.add("on_dependency_failure", failurePolicy.rawValue)
        if let notBefore { object.add("not_before", seconds: notBefore.milliseconds) }
        if let fence { object.add("fence", number: fence.rawValue) }
        if let lease { object.add("lease", seconds: lease) }
        if let assignee { object.add("assigned_to", assignee) }
        if !capabilities.isEmpty { object.add("capabilities", capabilities) }
        if let parent { object.add("parent", parent) }
        if let cancelledBy { object.add("cancelled_by", cancelledBy) }
        if let reason { object.add("reason", reason) }
        object.add("created_at", number: createdAt)
        object.add("started_at", optional: startedAt)
        object.add("completed_at", optional: completedAt)
        return object.finish()
    }

    /// What is told of it to who may not read it.
    var outline: [UInt8] {
        var object = JSONWriter()
        object.add("swarm_id", swarm)
        object.add("task_id", task)
        object.add("status", status.rawValue)
        return object.finish()
    }

    /// Reads a row.
    ///
    /// - Parameter withDependencies: whether those are wanted: a row may have hundreds, and be looked at for its status alone.
    /// - Returns: nil where it is none of ours: another database, or another program, has written it.
    package init?(_ value: [UInt8], swarm: Segment, task: Segment, withDependencies: Bool = true) {
        guard let object = try? JSONObject(value), let status = object.string("status").flatMap(TaskStatus.init),
            let attempt = object.integer("attempt"), attempt >= 0
        else { return nil }
        func segment(_ name: String) -> Segment? { object.string(name).flatMap { try? Segment($0) } }
        func integer(_ name: String) -> UInt64? { object.integer(name).flatMap(UInt64.init(exactly:)) }
        func milliseconds(_ name: String) -> UInt64? {
            guard let text = object.raw(name), let seconds = Double(String(decoding: text, as: UTF8.self)),
                0...253_402_300_799 ~= seconds
            else { return nil }
            return UInt64((seconds * 1_000).rounded())
        }
        func texts(_ name: String) -> [[UInt8]] {
            (object.array(name) ?? []).compactMap { JSONObject.string($0).map { Array($0.utf8) } }
        }
        self.swarm = swarm
        self.task = task
        self.status = status
        self.attempt = Int(min(attempt, Self.greatestAttempt))
        agent = segment("agent_id")
        assignee = segment("assigned_to")
        priority = object.integer("priority").flatMap(Int.init(exactly:)) ?? 0
        dependencies = !withDependencies ? [] : texts("dependencies").compactMap { try? Segment($0.span) }
        maximumAttempts = object.integer("max_attempts").flatMap(Int.init(exactly:)) ?? 3
        failurePolicy = object.string("on_dependency_failure").flatMap(FailurePolicy.init) ?? .block
        notBefore = milliseconds("not_before").map(WallTime.init(milliseconds:))
        fence = integer("fence").map { Fence($0) }
        lease = milliseconds("lease")
        capabilities = texts("capabilities")
        parent = segment("parent")
        cancelledBy = segment("cancelled_by")
        reason = object.string("reason")
        createdAt = integer("created_at") ?? 0
        startedAt = integer("started_at")
        completedAt = integer("completed_at")
    }
}
