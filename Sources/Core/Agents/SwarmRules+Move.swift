import Registers
import SyncEngine
import SyncProtocol

/// What others than its agent do with a task.
extension SwarmRules {
    /// How many tasks are looked at for a cycle.
    private static let maximumLook = 10_000

    func resume(_ task: Segment, _ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let slot = try live(task, caller, in: [.parked], "parked", &commit)
        return answer(
            try move(slot, to: .pending, Step("resumed", caller.request), &commit) { row in
                row.agent = row.assignee
                row.reason = nil
            }, to: caller.request)
    }

    func retry(
        _ task: Segment, _ cascades: Bool, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let (key, row) = try self.task(task, caller, &commit)
        try checkMayDirect(row, caller)
        guard row.status == .failed || row.status == .cancelled else {
            throw notReady(row, "failed or cancelled")
        }
        try checkIsRetriable(row, &commit)
        let slot = try slot(key, row, &commit)
        let answer = answer(try putBackToStart(slot, caller, &commit), to: caller.request)
        if cascades { try retryDependents(of: task, caller, &commit) }
        return answer
    }

    /// A task that would be cancelled again at once is not retried.
    private func checkIsRetriable(_ row: TaskRow, _ commit: inout some CallContext) throws {
        guard row.failurePolicy == .cancel else { return }
        for dependency in row.dependencies {
            let key = try SwarmKey.task(row.swarm, dependency).key()
            let status = self.row(try commit.current(of: key), row.swarm, dependency)?.status ?? .failed
            guard status.cancels(row.failurePolicy) else { continue }
            throw WireError(
                .notReady, "task \(row.task) depends on \(dependency), which is \(status.rawValue)",
                hint: "retry that one first, with \"cascade\":true for what it had cancelled")
        }
    }

    private func putBackToStart(
        _ slot: TaskSlot, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> TaskRow {
        try move(slot, to: .pending, Step("retried", caller.request), &commit) { row in
            row.attempt = 0
            row.notBefore = nil
            row.agent = row.assignee
            row.reason = nil
            row.startedAt = nil
        }
    }

    /// Retries what was cancelled since it depended on a task, and what depended on that.
    private func retryDependents(
        of first: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws {
        var retried: Set<Segment> = [first]
        var isMore = true
        let cancelled = try cancelledTasks(of: caller.swarm, &commit)
        while isMore {
            isMore = false
            for (key, row) in cancelled where !retried.contains(row.task) {
                guard row.failurePolicy == .cancel, row.dependencies.contains(where: retried.contains),
                    (try? checkIsRetriable(row, &commit)) != nil
                else { continue }
                retried.insert(row.task)
                _ = try putBackToStart(slot(key, row, &commit), caller, &commit)
                isMore = true
            }
        }
    }

    private func cancelledTasks(
        of swarm: Segment, _ commit: inout some CallContext
    ) throws -> [(key: Key, row: TaskRow)] {
        var found: [(Key, TaskRow)] = []
        let prefix = SwarmKey.tasksPrefix(swarm)
        let keys = try commit.keys(in: Self.range(of: prefix), limit: 4 * Self.maximumLook, isLasting: false)
        for key in keys {
            guard case .task(_, let task) = SwarmKey(key), let row = row(try commit.current(of: key), swarm, task),
                row.status == .cancelled
            else { continue }
            found.append((key, row))
        }
        return found
    }

    func cancel(
        _ task: Segment, _ cascades: Bool, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let (key, row) = try self.task(task, caller, &commit)
        try checkMayDirect(row, caller)
        guard let slot = graph.find(key), !graph[slot].status.isTerminal else {
            if row.status == .cancelled { return answer(row, to: caller.request) }
            throw notReady(row, "not over")
        }
        let followers = cascades ? try followers(of: slot) : []
        let answer = answer(try cancel(slot, reason: nil, caller, &commit), to: caller.request)
        for slot in followers where graph.node(slot).map({ !$0.status.isTerminal }) ?? false {
            try cancel(slot, reason: "task \(task) was cancelled", caller, &commit)
        }
        return answer
    }

    /// What waits for a task, and for that.
    private func followers(of first: TaskSlot) throws(WireError) -> [TaskSlot] {
        var found: [TaskSlot] = []
        var seen: Set<TaskSlot> = [first]
        var left = [first]
        while let slot = left.popLast() {
            for dependent in graph[slot].dependents.sorted() where seen.insert(dependent).inserted {
                found.append(dependent)
                left.append(dependent)
            }
        }
        guard found.count <= limits.moves else {
            throw WireError(
                .tooManyTasks,
                "\(found.count) tasks wait for \(graph[first].task); at most \(limits.moves) are cancelled at once",
                hint: "cancel some of those first")
        }
        return found
    }

    /// Cancels one task, whoever has it.
    @discardableResult
    func cancel(
        _ slot: TaskSlot, reason: String?, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> TaskRow {
        if graph[slot].status == .working { try endClaim(of: slot, caller.request, &commit) }
        return try move(slot, to: .cancelled, Step("cancelled", caller.request), &commit) { $0.reason = reason }
    }

    func assign(
        _ task: Segment, _ agent: Segment?, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let slot = try live(task, caller, in: [.pending, .ready, .parked], "pending, ready or parked", &commit)
        if let agent { try checkTopology(.assign, to: agent, caller) }
        var step = Step("assigned", caller.request)
        if let agent { step.data = agentData(agent) }
        return answer(
            try move(slot, to: graph[slot].status, step, &commit) { row in
                row.assignee = agent
                row.agent = agent
            }, to: caller.request)
    }

    func revoke(_ task: Segment, _ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let slot = try live(task, caller, in: [.working], "working", &commit)
        try endClaim(of: slot, caller.request, &commit)
        return answer(
            try putBack(slot, isCounted: false, reason: "taken away by \(caller.agent)", caller.request, &commit),
            to: caller.request)
    }

    func depend(
        _ task: Segment, _ on: [Segment], _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let slot = try live(task, caller, in: [.pending, .ready], "pending or ready", &commit)
        var (_, row) = try self.task(task, caller, &commit)
        for dependency in on where !row.dependencies.contains(dependency) {
            try checkIsThere(dependency, for: task, caller, &commit)
            if let path = try path(from: dependency, to: task, caller, &commit) { throw Self.cycle([task] + path) }
            row.dependencies.append(dependency)
        }
        guard row.dependencies.count <= 256 else {
            throw WireError(
                .badMessage, "task \(task) would have \(row.dependencies.count) dependencies; the limit is 256")
        }
        try checkSize(row)
        // Linked anew, to the new ones too.
        if graph[slot].status == .pending { graph.unlink(slot) }
        let wasPending = graph[slot].status == .pending
        let moved = try move(slot, to: .pending, Step("depends", caller.request), &commit) {
            $0.dependencies = row.dependencies
            $0.startedAt = nil
        }
        if wasPending { try link(slot, moved, &commit) }
        return answer(moved, to: caller.request)
    }

    /// The tasks by which one waits for another, from the one to the other; nil: it does not.
    private func path(
        from first: Segment, to last: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> [Segment]? {
        var cameFrom: [Segment: Segment] = [:]
        var seen: Set<Segment> = [first]
        var left = [first]
        while let task = left.popLast() {
            if task == last {
                var path = [task]
                while let back = cameFrom[path[path.count - 1]] { path.append(back) }
                return path.reversed()
            }
            guard seen.count <= Self.maximumLook else {
                throw WireError(
                    .badMessage, "more than \(Self.maximumLook) tasks would have to be looked at for a cycle",
                    hint: "say what a task depends on when it is submitted")
            }
            let key = try SwarmKey.task(caller.swarm, task).key()
            // What is done waits for nothing any more; anything else may have to wait again.
            guard let row = row(try commit.current(of: key), caller.swarm, task), row.status != .completed else {
                continue
            }
            for dependency in row.dependencies where seen.insert(dependency).inserted {
                cameFrom[dependency] = task
                left.append(dependency)
            }
        }
        return nil
    }

    // MARK: Checks

    private func live(
        _ task: Segment, _ caller: Caller, in statuses: Set<TaskStatus>, _ wanted: String,
        _ commit: inout some CallContext
    ) throws -> TaskSlot {
        let (key, row) = try self.task(task, caller, &commit)
        if caller.call.name != .taskResume { try checkMayDirect(row, caller) }
        guard let slot = graph.find(key), statuses.contains(graph[slot].status) else { throw notReady(row, wanted) }
        return slot
    }

    private func notReady(_ row: TaskRow, _ wanted: String) -> WireError {
        WireError(.notReady, "task \(row.task) is \(row.status.rawValue); it has to be \(wanted)")
    }

    static func range(of prefix: [UInt8]) -> Range<Key> {
        var end = prefix
        end[end.count - 1] += 1
        return Key(unchecked: prefix)..<Key(unchecked: end)
    }
}
