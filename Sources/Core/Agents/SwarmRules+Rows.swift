import Access
import Registers
import SyncEngine
import SyncProtocol

/// Rows: how tasks are read and written. A task moves in one place, with all that belongs to it.
extension SwarmRules {
    /// Who writes what nobody has asked for.
    static let own = WriteRequest(
        action: .withdraw(nil, isAnswered: false), agent: (try? Agent("starling")) ?? Agent(random: 0), origin: .server)

    /// The greatest size of a task's row, in bytes.
    static let maximumRowSize = 16 << 10

    /// What a commit makes of a task, beside its status.
    struct Step {
        /// For the log; nil: it is not worth a line.
        var event: String?
        /// The members of the log's `data`, as JSON.
        var data: [UInt8] = Array("null".utf8)
        var request: WriteRequest

        init(_ event: String?, _ request: WriteRequest) {
            self.event = event
            self.request = request
        }
    }

    /// The swarm of a call, which has to be there.
    func swarmSlot(_ caller: Caller) throws(WireError) -> SwarmSlot {
        guard let slot = graph.swarm(caller.swarm), graph[slot].facts.isThere else {
            throw WireError(
                .absent, "there is no swarm \(caller.swarm)",
                hint: #"{"type":"swarm.init","swarm":"\#(caller.swarm)"} makes it"#)
        }
        return slot
    }

    /// The row that a register has; nil: it has none of ours.
    func row(
        _ stored: StoredRegister?, _ swarm: Segment, _ task: Segment, withDependencies: Bool = true
    ) -> TaskRow? {
        guard let value = stored?.register.value, SwarmKey.fits(swarm, task: task) else { return nil }
        return TaskRow(value, swarm: swarm, task: task, withDependencies: withDependencies)
    }

    /// A task that a call names.
    func task(
        _ task: Segment, _ caller: Caller, _ commit: inout some CallContext
    ) throws -> (key: Key, row: TaskRow) {
        let key = try SwarmKey.task(caller.swarm, task).key()
        guard let row = row(try commit.current(of: key), caller.swarm, task) else {
            throw WireError(.absent, "there is no task \(task) in swarm \(caller.swarm)")
        }
        return (key, row)
    }

    /// Where a task is in the graph, which it is put into if it is over.
    func slot(_ key: Key, _ row: TaskRow, _ commit: inout some CallContext) throws(StoreError) -> TaskSlot {
        if let slot = graph.find(key) { return slot }
        guard let stored = try commit.current(of: key) else { preconditionFailure("the row was read before") }
        return graph.insert(node(row, stored))
    }

    func node(_ row: TaskRow, _ stored: StoredRegister) -> TaskNode {
        TaskNode(
            row, swarm: graph.makeSwarm(row.swarm), key: stored.register.key.detached, at: stored.row,
            since: stored.register.version.stamp.milliseconds)
    }

    /// Has a task change its status, with its row, its copy for readers, its line in the log, and what that means to others.
    ///
    /// - Returns: the row as it is now.
    @discardableResult
    func move(
        _ slot: TaskSlot, to status: TaskStatus, _ step: Step, _ commit: inout some CallContext,
        _ edit: (inout TaskRow) -> Void = { _ in }
    ) throws -> TaskRow {
        let before = graph[slot]
        let swarm = graph.name(of: before.swarm)
        guard var row = row(try commit.current(of: before.key), swarm, before.task) else {
            throw StoreError(
                "\(before.key) is no task any more: the database was altered, or is damaged",
                code: StoreError.damagedRow)
        }
        row.status = status
        row.completedAt = status.isTerminal ? commit.now.seconds : nil
        edit(&row)
        let stored = try write(row, to: before.key, step.request, &commit)
        if before.status == .pending, status != .pending { graph.unlink(slot) }
        graph.update(slot) { $0.update(row, stored) }
        if status == .pending, before.status != .pending { try link(slot, row, &commit) }
        graph.tellDependents(of: slot, from: before.status)
        if status == .ready { fresh.append(slot) }
        if status == .completed { noteCompletion(of: swarm, at: commit.now) }
        graph.forgetIfUnneeded(slot)
        if graph.settings(of: before.swarm).mirrors { try mirror(row, step.request, &commit) }
        if let event = step.event { try log(event, step.data, row, step.request, &commit) }
        return row
    }

    /// Has a pending task wait for what its row says; one that was handed out before waits for nothing of that any more.
    func link(_ slot: TaskSlot, _ row: TaskRow, _ commit: inout some CallContext) throws {
        if row.startedAt == nil { try link(slot, to: row.dependencies, &commit) }
    }

    func link(_ slot: TaskSlot, to dependencies: [Segment], _ commit: inout some CallContext) throws {
        let swarm = graph.name(of: graph[slot].swarm)
        var slots: [TaskSlot] = []
        for dependency in dependencies {
            let key = try SwarmKey.task(swarm, dependency).key()
            if let slot = graph.find(key) {
                slots.append(slot)
            } else if let stored = try commit.current(of: key),
                let row = row(stored, swarm, dependency, withDependencies: false)
            {
                slots.append(graph.insert(node(row, stored)))
            } else {
                slots.append(graph.insert(missing(dependency, key, swarm)))
            }
        }
        graph.link(slot, to: slots)
    }

    /// What stands for a task whose row is gone: it has ended long ago, and nothing waited for it then.
    private func missing(_ task: Segment, _ key: Key, _ swarm: Segment) -> TaskNode {
        var row = TaskRow(NewTask(), task: task, swarm: swarm, settings: SwarmConfiguration(), now: 0)
        row.status = .completed
        return TaskNode(row, swarm: graph.makeSwarm(row.swarm), key: key, at: RowID(0), since: 0)
    }

    // MARK: Writing

    func write(
        _ row: TaskRow, to key: Key, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws -> StoredRegister {
        let life = row.status.isTerminal ? limits.retention : nil
        try put(key, row.json, life: life, request, &commit)
        guard let stored = try commit.current(of: key) else { preconditionFailure("it was just written") }
        return stored
    }

    /// Writes a register of a swarm's.
    ///
    /// - Parameter life: in milliseconds; nil: for ever.
    func put(
        _ key: Key, _ value: [UInt8]?, life: UInt64? = nil, metadata: [UInt8]? = nil, _ request: WriteRequest,
        _ commit: inout some CallContext
    ) throws {
        var write = ClientMessage.Write(key: key, value: value, metadata: metadata)
        write.timeToLive = life
        if case .refused(let error) = try commit.write(write, for: request) { throw error }
    }

    /// Refuses what would write a register that is under somebody's claim, before anything is changed.
    func checkIsFree(_ key: Key, _ commit: inout some CallContext) throws {
        guard let stored = try commit.current(of: key), stored.isHeld(at: commit.now) else { return }
        throw WireError(.held, "\(key) is claimed; only that claim's renew and release change it")
    }

    func mirror(_ row: TaskRow, _ request: WriteRequest, _ commit: inout some CallContext) throws {
        guard let key = try? SwarmKey.mirror(of: row.task) else { return }
        var object = JSONWriter()
        object.add("swarm", row.swarm)
        let metadata = object.finish()
        // What somebody else has there, or another swarm, is not written over; and a claim on a copy keeps no task from going on.
        if let there = try commit.current(of: key), !there.register.isTombstone {
            guard there.register.metadata == metadata, !there.isHeld(at: commit.now) else { return }
        }
        try put(
            key, Array("\"\(row.status.rawValue)\"".utf8), life: row.status.isTerminal ? limits.retention : nil,
            metadata: metadata, request, &commit)
    }

    func log(
        _ event: String, _ data: [UInt8], _ row: TaskRow, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws {
        var line = JSONWriter()
        line.add("task_id", row.task)
        line.add("event", event)
        line.add("data", raw: data)
        let key = try SwarmKey.log(row.swarm, stamp: stamp(&commit)).key()
        try put(key, line.finish(), life: Self.logLife, request, &commit)
    }

    /// A segment that sorts by time, and that nothing else has.
    func stamp(_ commit: inout some CallContext) -> [UInt8] {
        let prefix = Version(stamp: commit.nextStamp(), agent: Self.own.agent).bytes.prefix(Version.prefixLength)
        return prefix + node
    }

    // MARK: Answers

    /// What is said of a task: its row to who may read that, and else only what it is called and what it is doing.
    func answer(
        _ row: TaskRow, to request: WriteRequest, _ members: (inout JSONWriter) -> Void = { _ in }
    ) -> CallAnswer {
        var object = JSONWriter(continues: true)
        let key = try? SwarmKey.task(row.swarm, row.task).key()
        let mayRead = request.grant.map { grant in key.map(grant.read.admits) ?? false } ?? true
        object.add("task", raw: mayRead ? row.json : row.outline)
        members(&object)
        return CallAnswer(.task, members: object.finish())
    }
}
