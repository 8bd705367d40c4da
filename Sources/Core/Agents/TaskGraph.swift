import Access
import Registers
import SyncEngine
import SyncProtocol

/// The index over swarms that calls are judged by: the tasks that are not over, what they wait for, who waits for them. It is made from rows,
/// and never more than they say; what a commit does to it is taken back if that fails.
struct TaskGraph: Sendable {
    private enum Undo: Sendable {
        case node(TaskSlot, TaskNode?)
        case facts(SwarmSlot, SwarmFacts)
    }

    private var nodes: [TaskNode?] = []
    private var free: [Int32] = []
    private var slots: [Key: TaskSlot] = [:]
    private(set) var swarms: [SwarmState] = []
    private var swarmSlots: [Segment: SwarmSlot] = [:]
    private var due = SortedList<DueTask>()
    private(set) var live = 0
    private(set) var waiting = 0
    /// The swarms whose tasks are being cancelled.
    private(set) var ending: Set<SwarmSlot> = []
    /// When the first call that waits is to be answered; nil: not known.
    private var deadline: WallTime??
    private var undo: [Undo] = []
    private var touchedNodes: Set<TaskSlot> = []
    private var touchedFacts: Set<SwarmSlot> = []
    private var touchedSwarms: Set<SwarmSlot> = []
    private var freeSwarms: [SwarmSlot] = []

    // MARK: Looking

    func find(_ key: Key) -> TaskSlot? { slots[key] }

    /// Grows with each change of a task.
    private(set) var changes: UInt64 = 0

    subscript(slot: TaskSlot) -> TaskNode {
        guard let node = nodes[Int(slot.index)] else { preconditionFailure("a task that is gone is asked for") }
        return node
    }

    /// The node of a slot, if there is one still.
    func node(_ slot: TaskSlot) -> TaskNode? { nodes[Int(slot.index)] }

    func swarm(_ name: Segment) -> SwarmSlot? { swarmSlots[name] }

    subscript(slot: SwarmSlot) -> SwarmState { swarms[Int(slot.index)] }

    /// The task that has been due for longest.
    func firstDue(at now: WallTime) -> TaskSlot? { due.last.flatMap { $0.time <= now ? $0.slot : nil } }

    /// When the next task is due.
    var nextDue: WallTime? { ending.isEmpty ? due.last?.time : 0 }

    /// When the first call that waits is to be answered that there is no task; nil: none waits.
    mutating func nextDeadline() -> WallTime? {
        if let deadline { return deadline }
        let first = waiting == 0 ? nil : swarms.lazy.flatMap(\.facts.waiters).map(\.deadline).min()
        deadline = .some(first)
        return first
    }

    func name(of slot: SwarmSlot) -> Segment { swarms[Int(slot.index)].name }
    func settings(of slot: SwarmSlot) -> SwarmConfiguration { swarms[Int(slot.index)].facts.settings }
    func live(of slot: SwarmSlot) -> Int { swarms[Int(slot.index)].live }
    func isPresent(_ agent: Segment, in slot: SwarmSlot) -> Bool { swarms[Int(slot.index)].facts.present[agent] != nil }

    /// The first task to be handed out that is for a caller, of those behind `place`; and its place.
    func firstReady(for waiter: Waiter, of slot: SwarmSlot, from place: Int) -> (place: Int, slot: TaskSlot)? {
        let count = swarms[Int(slot.index)].ready.count
        var place = place
        while place < count {
            let task = swarms[Int(slot.index)].ready.elements[count - 1 - place].slot
            if fits(waiter, task) { return (place, task) }
            place += 1
        }
        return nil
    }

    /// Whether a task is for a caller, as far as that can be said without a look at its claim.
    func fits(_ waiter: Waiter, _ slot: TaskSlot) -> Bool {
        // Each property by itself: a copy of the node would count all that it holds.
        let index = Int(slot.index)
        if let needed = nodes[index]?.capabilities, !needed.isEmpty, !needed.isSubset(of: waiter.next.capabilities) {
            return false
        }
        if let assignee = nodes[index]?.assignee, assignee != waiter.agent, let swarm = nodes[index]?.swarm,
            isPresent(assignee, in: swarm)
        {
            return false
        }
        guard let grant = waiter.request.grant, let key = nodes[index]?.key else { return true }
        return grant.write.admits(key)
    }

    /// The first of those who wait that a task is for.
    func firstWaiter(for slot: TaskSlot) -> Waiter? {
        swarms[Int(self[slot].swarm.index)].facts.waiters.first { fits($0, slot) }
    }

    /// The tasks of a swarm that are ready.
    func readyTasks(of slot: SwarmSlot) -> [TaskSlot] { swarms[Int(slot.index)].ready.elements.map(\.slot) }

    /// Some tasks of a swarm that are not over.
    func liveTasks(of swarm: SwarmSlot, limit: Int) -> [TaskSlot] {
        Array(
            nodes.indices.lazy.filter { index in
                nodes[index].map { $0.swarm == swarm && !$0.status.isTerminal } ?? false
            }.prefix(limit).map { TaskSlot(index: Int32($0)) })
    }

    /// All slots that have a task, in their order.
    var allSlots: [TaskSlot] { nodes.indices.lazy.filter { nodes[$0] != nil }.map { TaskSlot(index: Int32($0)) } }

    // MARK: Changing

    mutating func makeSwarm(_ name: Segment) -> SwarmSlot {
        if let slot = swarmSlots[name] { return slot }
        let slot = freeSwarms.popLast() ?? SwarmSlot(index: Int32(swarms.count))
        if Int(slot.index) == swarms.count { swarms.append(SwarmState(name)) }
        swarms[Int(slot.index)] = SwarmState(name)
        swarmSlots[name] = slot
        touchedSwarms.insert(slot)
        return slot
    }

    /// Changes what is remembered of a swarm beside its tasks.
    mutating func update(_ slot: SwarmSlot, _ body: (inout SwarmFacts) -> Void) {
        let before = swarms[Int(slot.index)].facts
        if touchedFacts.insert(slot).inserted { undo.append(.facts(slot, before)) }
        touchedSwarms.insert(slot)
        body(&swarms[Int(slot.index)].facts)
        adjust(slot, from: before)
    }

    /// What follows from other facts of a swarm.
    private mutating func adjust(_ slot: SwarmSlot, from before: SwarmFacts) {
        let facts = swarms[Int(slot.index)].facts
        waiting += facts.waiters.count - before.waiters.count
        deadline = nil
        if facts.isEnding { ending.insert(slot) } else { ending.remove(slot) }
        guard facts.settings.aging != before.settings.aging else { return }
        let ranks = swarms[Int(slot.index)].ready.elements
        swarms[Int(slot.index)].ready = SortedList()
        for rank in ranks {
            swarms[Int(slot.index)].ready.insert(ReadyRank(self[rank.slot], rank.slot, aging: facts.settings.aging))
        }
    }

    mutating func insert(_ node: TaskNode) -> TaskSlot {
        let slot = TaskSlot(index: free.popLast() ?? Int32(nodes.count))
        if Int(slot.index) == nodes.count { nodes.append(nil) }
        set(slot, node)
        return slot
    }

    mutating func update(_ slot: TaskSlot, _ body: (inout TaskNode) -> Void) {
        let index = Int(slot.index)
        guard var node = nodes[index] else { preconditionFailure("a task that is gone is changed") }
        note(slot)
        leave(slot, node)
        // Held once while it is changed: its sets would be copied each time.
        nodes[index] = nil
        body(&node)
        enter(slot, node)
        nodes[index] = node
    }

    /// Forgets a task that there is nothing to remember of.
    mutating func forgetIfUnneeded(_ slot: TaskSlot) {
        if let node = node(slot), !node.isNeeded { set(slot, nil) }
    }

    private mutating func set(_ slot: TaskSlot, _ node: TaskNode?) {
        note(slot)
        remove(slot)
        if let node { put(node, at: slot) }
        if node == nil { free.append(slot.index) }
    }

    /// Keeps what a task was after the last commit.
    private mutating func note(_ slot: TaskSlot) {
        changes &+= 1
        if touchedNodes.insert(slot).inserted { undo.append(.node(slot, nodes[Int(slot.index)])) }
    }

    private mutating func remove(_ slot: TaskSlot) {
        guard let old = nodes[Int(slot.index)] else { return }
        leave(slot, old)
        if slots[old.key] == slot { slots[old.key] = nil }
        nodes[Int(slot.index)] = nil
    }

    private mutating func put(_ node: TaskNode, at slot: TaskSlot) {
        nodes[Int(slot.index)] = node
        slots[node.key] = slot
        enter(slot, node)
    }

    /// Takes a task out of every list that it is in.
    private mutating func leave(_ slot: TaskSlot, _ node: TaskNode) {
        if let time = node.dueAt { due.remove(DueTask(time: time, row: node.row, slot: slot)) }
        guard !node.status.isTerminal else { return }
        live -= 1
        change(node.swarm) { swarm in
            swarm.counts[node.status, default: 0] -= 1
            switch node.status {
            case .ready:
                swarm.ready.remove(ReadyRank(node, slot, aging: swarm.facts.settings.aging))
                if let assignee = node.assignee {
                    swarm.assigned[assignee]?.remove(slot)
                    if swarm.assigned[assignee]?.isEmpty == true { swarm.assigned[assignee] = nil }
                }
            case .working: swarm.working.remove(slot)
            case .pending, .parked, .completed, .failed, .cancelled: break
            }
        }
    }

    private mutating func enter(_ slot: TaskSlot, _ node: TaskNode) {
        if let time = node.dueAt { due.insert(DueTask(time: time, row: node.row, slot: slot)) }
        guard !node.status.isTerminal else { return }
        live += 1
        change(node.swarm) { swarm in
            swarm.counts[node.status, default: 0] += 1
            switch node.status {
            case .ready:
                swarm.ready.insert(ReadyRank(node, slot, aging: swarm.facts.settings.aging))
                if let assignee = node.assignee { swarm.assigned[assignee, default: []].insert(slot) }
            case .working: swarm.working.insert(slot)
            case .pending, .parked, .completed, .failed, .cancelled: break
            }
        }
    }

    private mutating func change(_ slot: SwarmSlot, _ body: (inout SwarmState) -> Void) {
        touchedSwarms.insert(slot)
        body(&swarms[Int(slot.index)])
    }

    // MARK: Dependencies

    /// A pending task waits for `dependencies` from now on.
    mutating func link(_ slot: TaskSlot, to dependencies: [TaskSlot]) {
        for dependency in dependencies { update(dependency) { $0.dependents.insert(slot) } }
        let policy = self[slot].policy
        let statuses = dependencies.map { self[$0].status }
        update(slot) { node in
            node.dependencies = dependencies
            node.unmet = Int32(statuses.count { !$0.satisfies(policy) })
            node.fatal = Int32(statuses.count { $0.cancels(policy) })
        }
    }

    /// A task is pending no longer.
    mutating func unlink(_ slot: TaskSlot) {
        let dependencies = self[slot].dependencies
        guard !dependencies.isEmpty else { return }
        update(slot) { node in
            node.dependencies = []
            node.unmet = 0
            node.fatal = 0
        }
        for dependency in dependencies {
            update(dependency) { $0.dependents.remove(slot) }
            forgetIfUnneeded(dependency)
        }
    }

    /// What the status of a task means to those that wait for it.
    mutating func tellDependents(of slot: TaskSlot, from old: TaskStatus) {
        let new = self[slot].status
        for dependent in self[slot].dependents.sorted(by: { self[$0].row.rawValue < self[$1].row.rawValue }) {
            let policy = self[dependent].policy
            let unmet = (old.satisfies(policy) ? 1 : 0) - (new.satisfies(policy) ? 1 : 0)
            let fatal = (new.cancels(policy) ? 1 : 0) - (old.cancels(policy) ? 1 : 0)
            guard unmet != 0 || fatal != 0 else { continue }
            update(dependent) { node in
                node.unmet += Int32(unmet)
                node.fatal += Int32(fatal)
            }
        }
    }

    // MARK: Commits

    mutating func committed() {
        for slot in touchedSwarms where self[slot].isEmpty && swarmSlots[self[slot].name] == slot {
            swarmSlots[self[slot].name] = nil
            freeSwarms.append(slot)
        }
        // What a load needs is many times what any commit does.
        let isUsual = undo.count < 4_096
        touchedSwarms.removeAll(keepingCapacity: isUsual)
        undo.removeAll(keepingCapacity: isUsual)
        touchedNodes.removeAll(keepingCapacity: isUsual)
        touchedFacts.removeAll(keepingCapacity: isUsual)
    }

    /// Makes everything as it was after the last commit.
    mutating func rolledBack() {
        changes &+= 1
        // First away with all that was touched: a key may have gone from one slot to another.
        for case .node(let slot, _) in undo { remove(slot) }
        for case .facts(let slot, let facts) in undo {
            let before = swarms[Int(slot.index)].facts
            swarms[Int(slot.index)].facts = facts
            adjust(slot, from: before)
        }
        for case .node(let slot, let node?) in undo { put(node, at: slot) }
        if !undo.isEmpty {
            free = nodes.indices.filter { nodes[$0] == nil }.map { Int32($0) }
        }
        committed()
    }

    /// Forgets all tasks and facts but who waits.
    mutating func forget() {
        var fresh = TaskGraph()
        for swarm in swarms where !swarm.facts.waiters.isEmpty {
            let slot = fresh.makeSwarm(swarm.name)
            fresh.update(slot) { $0.waiters = swarm.facts.waiters }
        }
        fresh.committed()
        self = fresh
    }
}
