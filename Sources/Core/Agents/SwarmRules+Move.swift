import Registers
import SyncEngine
import SyncProtocol

/// What others than its agent do with a task.
extension SwarmRules {
    /// How many tasks are looked at for a cycle, and how many of these have their rows read for it.
    private static let maximumLook = 10_000
    private static let maximumRowsRead = 500

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
        var known: [Segment: TaskStatus] = [:]
        try checkIsRetriable(row, retried: [], &known, &commit)
        let others = cascades ? try cancelledWith(task, caller, &commit) : []
        try checkIsRoom(for: 1 + others.count, in: caller.swarm)
        let slot = try slot(key, row, &commit)
        let answer = answer(try putBackToStart(slot, caller, &commit), to: caller.request)
        for (key, row) in others { _ = try putBackToStart(self.slot(key, row, &commit), caller, &commit) }
        return answer
    }

    private func checkIsRoom(for count: Int, in swarm: Segment) throws(WireError) {
        let live = graph.swarm(swarm).map(graph.live(of:)) ?? 0
        if graph.live + count > limits.tasks || live + count > limits.tasksOfSwarm {
            throw WireError(
                .tooManyTasks,
                "\(count) tasks more would not be over; there are \(live) in swarm \(swarm), and \(graph.live) in all")
        }
    }

    /// A task that would be cancelled again at once is not retried.
    ///
    /// - Parameters:
    ///   - retried: what is retried with it.
    ///   - known: the statuses that were looked up before.
    private func checkIsRetriable(
        _ row: TaskRow, retried: Set<Segment>, _ known: inout [Segment: TaskStatus], _ commit: inout some CallContext
    ) throws {
        guard row.failurePolicy == .cancel else { return }
        for dependency in row.dependencies where !retried.contains(dependency) {
            let status = try known[dependency] ?? self.status(of: dependency, in: row.swarm, &commit)
            known[dependency] = status
            guard status.cancels(row.failurePolicy) else { continue }
            throw WireError(
                .notReady, "task \(row.task) depends on \(dependency), which is \(status.rawValue)",
                hint: "retry that one first, with \"cascade\":true for what it had cancelled")
        }
    }

    private func status(
        of task: Segment, in swarm: Segment, _ commit: inout some CallContext
    ) throws -> TaskStatus {
        let key = try SwarmKey.task(swarm, task).key()
        if let slot = graph.find(key), !graph[slot].status.isTerminal { return graph[slot].status }
        return row(try commit.glance(at: key), swarm, task, withDependencies: false)?.status ?? .failed
    }

    private func putBackToStart(
        _ slot: TaskSlot, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> TaskRow {
        try move(slot, to: .pending, Step("retried", caller.request), &commit) { row in
            row.attempt = 0
            row.notBefore = nil
            row.agent = row.assignee
            row.reason = nil
            row.cancelledBy = nil
            row.startedAt = nil
        }
    }

    /// What was cancelled with a task, and with that, in the order in which it can be retried.
    private func cancelledWith(
        _ first: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> [(key: Key, row: TaskRow)] {
        var byCause: [Segment: [(key: Key, row: TaskRow)]] = [:]
        let range = Self.range(of: SwarmKey.tasksPrefix(caller.swarm))
        for key in try commit.keys(in: range, limit: 4 * Self.maximumLook, isLasting: false) {
            guard case .task(_, let task)? = SwarmKey(key), let stored = try commit.glance(at: key),
                stored.register.record.with(.value, Self.namesCause) == true,
                let row = row(stored, caller.swarm, task), row.status == .cancelled, let cause = row.cancelledBy
            else { continue }
            byCause[cause, default: []].append((key, row))
        }
        var found: [(key: Key, row: TaskRow)] = []
        var retried: Set<Segment> = [first]
        var known: [Segment: TaskStatus] = [:]
        var left = [first]
        var weight = 0
        while let cause = left.popLast() {
            for (key, row) in byCause[cause] ?? [] {
                guard (try? checkIsRetriable(row, retried: retried, &known, &commit)) != nil,
                    retried.insert(row.task).inserted
                else { continue }
                try checkMayChange(key, row, caller)
                found.append((key, row))
                left.append(row.task)
                weight += Self.weight(dependencies: row.dependencies.count)
                guard weight <= limits.moves else {
                    throw tooMany("more tasks were cancelled with \(first) than are retried at once", "retry")
                }
            }
        }
        return found
    }

    /// Each counts once, and once more for so many dependencies.
    private func tooMany(_ what: String, _ verb: String) -> WireError {
        WireError(
            .tooManyTasks, "\(what): \(limits.moves), or fewer where they depend on many",
            hint: "\(verb) some of those first")
    }

    /// Whether a row says with which task it was cancelled: most do not, and need not be read for that.
    private static func namesCause(_ value: Span<UInt8>) -> Bool {
        let name = Array("\"cancelled_by\":".utf8)
        guard value.count >= name.count else { return false }
        return (0...(value.count - name.count)).contains { start in
            value[start] == name[0] && ByteOrder.areEqual(value.extracting(start..<start + name.count), name.span)
        }
    }

    /// A task that a cascade reaches is changed by the same rights as one that is named.
    private func checkMayChange(_ key: Key, _ row: TaskRow, _ caller: Caller) throws(WireError) {
        guard caller.mayWrite(key) else {
            let reached = caller.mayRead(key) ? "task \(row.task)" : "a task"
            throw WireError(.forbidden, "the cascade reaches \(reached), which these credentials may not write")
        }
        try checkMayDirect(row, caller)
    }

    func cancel(
        _ task: Segment, _ cascades: Bool, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> CallAnswer {
        let (key, row) = try self.task(task, caller, &commit)
        try checkMayDirect(row, caller)
        guard let slot = graph.find(key), !graph[slot].status.isTerminal else {
            if row.status == .cancelled { return answer(row, to: caller.request) }
            throw WireError(.notReady, "task \(task) is \(row.status.rawValue): it is over already")
        }
        let followers = cascades ? try followers(of: slot) : []
        for slot in followers {
            let key = graph[slot].key
            if let row = self.row(try commit.current(of: key), caller.swarm, graph[slot].task) {
                try checkMayChange(key, row, caller)
            }
        }
        let answer = answer(try cancel(slot, reason: nil, caller, &commit), to: caller.request)
        for slot in followers where graph.node(slot).map({ !$0.status.isTerminal }) ?? false {
            try cancel(slot, with: task, reason: "task \(task) was cancelled", caller, &commit)
        }
        return answer
    }

    /// What waits for a task, and for that.
    private func followers(of first: TaskSlot) throws(WireError) -> [TaskSlot] {
        var found: [TaskSlot] = []
        var seen: Set<TaskSlot> = [first]
        var left = [first]
        var weight = 0
        while let slot = left.popLast() {
            for dependent in graph[slot].dependents.sorted() where seen.insert(dependent).inserted {
                found.append(dependent)
                left.append(dependent)
                weight += Self.weight(of: graph[dependent])
                guard weight <= limits.moves else {
                    throw tooMany("more tasks wait for \(graph[first].task) than are cancelled at once", "cancel")
                }
            }
        }
        return found
    }

    /// Cancels one task, whoever has it.
    @discardableResult
    func cancel(
        _ slot: TaskSlot, with other: Segment? = nil, reason: String?, _ caller: Caller,
        _ commit: inout some CallContext
    ) throws -> TaskRow {
        if graph[slot].status == .working { try endClaim(of: slot, caller.request, &commit) }
        return try move(slot, to: .cancelled, Step("cancelled", caller.request), &commit) { row in
            row.reason = reason
            row.cancelledBy = other
        }
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
        let new = on.filter { !row.dependencies.contains($0) }
        for dependency in new { try checkIsThere(dependency, for: task, caller, &commit) }
        if let path = try path(from: new, to: task, caller, &commit) { throw cycle([task] + path, caller) }
        row.dependencies += new
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

    /// - Parameter path: as that of ``cycle(_:)``; what may not be read is not named.
    private func cycle(_ path: [Segment], _ caller: Caller) -> WireError {
        Self.cycle(
            path.map { task in
                let key = try? SwarmKey.task(caller.swarm, task).key()
                return key.map { caller.mayRead($0) || caller.mayWrite($0) } == true ? "\(task)" : "?"
            })
    }

    /// The tasks by which one of some waits for another, from the one to the other; nil: none does.
    private func path(
        from first: [Segment], to last: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> [Segment]? {
        var cameFrom: [Segment: Segment] = [:]
        var seen = Set(first)
        var left = first
        var rowsRead = 0
        while let task = left.popLast() {
            if task == last {
                var path = [task]
                while let back = cameFrom[path[path.count - 1]] { path.append(back) }
                return path.reversed()
            }
            guard seen.count <= Self.maximumLook, rowsRead <= Self.maximumRowsRead else {
                throw WireError(
                    .badMessage, "too many tasks would have to be looked at for a cycle",
                    hint: "say what a task depends on when it is submitted")
            }
            for dependency in try waitsFor(task, caller, &rowsRead, &commit) where seen.insert(dependency).inserted {
                cameFrom[dependency] = task
                left.append(dependency)
            }
        }
        return nil
    }

    /// What a task waits for, or would if it had to begin anew. What is done waits for nothing any more.
    private func waitsFor(
        _ task: Segment, _ caller: Caller, _ rowsRead: inout Int, _ commit: inout some CallContext
    ) throws -> [Segment] {
        let key = try SwarmKey.task(caller.swarm, task).key()
        if let slot = graph.find(key), graph[slot].status == .pending, !graph[slot].hasStarted {
            return graph[slot].dependencies.map { graph[$0].task }
        }
        rowsRead += 1
        guard let row = row(try commit.glance(at: key), caller.swarm, task), row.status != .completed else { return [] }
        return row.dependencies
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
