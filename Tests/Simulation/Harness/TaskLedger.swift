import Agents
import Registers
import SyncEngine
import SyncProtocol

/// What must be true of tasks, by what is told of their rows.
struct TaskLedger {
    private struct Row {
        var status: TaskStatus
        var policy: FailurePolicy
        var dependencies: [Segment]
        var fence: Fence
        var hasStarted: Bool

        init(_ row: TaskRow) {
            status = row.status
            policy = row.failurePolicy
            dependencies = row.dependencies
            fence = row.fence ?? 0
            hasStarted = row.startedAt != nil
        }
    }

    private var rows: [Segment: Row] = [:]
    /// Those whose time was over: what others wait for is written again as it was.
    private var gone: [Segment: Row] = [:]

    /// A register was committed.
    mutating func note(_ register: Register, _ world: World) {
        guard case .task(let swarm, let task)? = SwarmKey(register.key) else { return }
        let old = rows[task]
        guard let row = register.value.flatMap({ TaskRow($0, swarm: swarm, task: task) }) else {
            if let old, !old.status.isTerminal { world.note("\(task) is gone, and was \(old.status)") }
            rows[task] = nil
            gone[task] = old
            return
        }
        let new = Row(row)
        rows[task] = new
        if old == nil, let gone = gone[task], gone.fence == new.fence, gone.status == new.status { return }
        check(task, from: old, to: new, world)
    }

    private func check(_ task: Segment, from old: Row?, to new: Row, _ world: World) {
        if let old, new.fence < old.fence { world.note("the fence of \(task) went back to \(new.fence)") }
        switch (old?.status, new.status) {
        case (.completed?, let status) where status != .completed: world.note("\(task) was completed, and is \(status)")
        case (let status, .working):
            if status != .ready {
                world.note("\(task) was handed out while it was \(status.map { "\($0)" } ?? "absent")")
            }
            if new.fence <= old?.fence ?? 0 { world.note("\(task) was handed out twice with fence \(new.fence)") }
        case (let status, .completed) where status != .working && status != .completed:
            world.note("\(task) was completed while it was \(status.map { "\($0)" } ?? "absent")")
        case (let status, .ready) where status != .ready && !new.hasStarted:
            for dependency in new.dependencies {
                guard let found = rows[dependency], !found.status.satisfies(new.policy) else { continue }
                world.note("\(task) is ready before \(dependency), which is \(found.status)")
            }
        default: break
        }
    }

    mutating func restarted(_ registers: [Key: Register]) {
        rows = [:]
        gone = [:]
        for (key, register) in registers {
            guard case .task(let swarm, let task)? = SwarmKey(key),
                let row = register.value.flatMap({ TaskRow($0, swarm: swarm, task: task) })
            else { continue }
            rows[task] = Row(row)
        }
    }

    /// An agent was told that it has a task.
    func handedOut(_ task: Segment, _ fence: Fence, _ world: World) {
        guard let row = rows[task] else { return }
        if row.fence < fence, row.fence > 0 {
            world.note("\(task) was handed out under \(fence), and has \(row.fence)")
        }
    }

    /// An agent was told that it has completed a task.
    func completed(_ task: Segment, _ fence: Fence, _ world: World) {
        guard let row = rows[task], row.fence == fence else { return }
        if row.status != .completed { world.note("\(task) was said to be completed, and is \(row.status)") }
    }
}

extension SimulatedServer {
    /// The index of the rules says what one says that is made anew, and nothing is as it must not be.
    func checkRules(_ disk: SimulatedDisk, _ world: World) {
        let rules = committer.rules
        guard rules.isLoaded else { return }
        let anew = SwarmRules(node: "n")
        var other = committer
        other.forgetRegisters()
        do {
            try anew.makeIndex(&other)
        } catch {
            return
        }
        let (left, right) = (Set(rules.summary), Set(anew.summary))
        if left != right {
            world.note("the index has \(left.subtracting(right).sorted()), not \(right.subtracting(left).sorted())")
        }
        // Also of what is done in portions: who looks at the file sees it in between.
        var audit = SwarmAudit(now: now)
        for stored in disk.committed.values { audit.note(stored) }
        if let problem = audit.problems.first { world.note("the audit says: \(problem)") }
        // What is done in portions is on its way.
        guard committer.nextDue.map({ $0 > now }) ?? true else { return }
        let problem = rules.problem(now: now) { claim, fence in
            let stored = disk.committed[claim]
            return stored?.binding?.isExclusive == true && stored?.register.isTombstone == false
                && stored?.fence == fence
        }
        if let problem { world.note(problem) }
    }
}
