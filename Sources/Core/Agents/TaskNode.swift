import Registers
import SyncProtocol

/// Where a task is in a ``TaskGraph``.
struct TaskSlot: Hashable, Comparable, Sendable {
    let index: Int32

    static func < (left: TaskSlot, right: TaskSlot) -> Bool { left.index < right.index }
}

/// Where a swarm is in a ``TaskGraph``.
struct SwarmSlot: Hashable, Sendable {
    let index: Int32
}

/// What is remembered of a task: of one that is not over, or that one waits for.
struct TaskNode: Equatable, Sendable {
    let swarm: SwarmSlot
    let task: Segment
    /// Of its register.
    let key: Key
    /// Tasks of the same priority go in the order in which they were made: that of their rows.
    var row: RowID
    var status: TaskStatus
    var priority: Int32
    var policy: FailurePolicy
    var attempt: Int32
    var maximumAttempts: Int32
    /// Before which it is not handed out; 0: at any time.
    var notBefore: WallTime
    /// Since when its row is as it is, in milliseconds: of one that is ready, since when it waits for an agent.
    var since: UInt64
    /// Under which it was handed out last; 0: never.
    var fence: Fence
    var agent: Segment?
    var assignee: Segment?
    var capabilities: Set<[UInt8]>
    /// Whether it was handed out before: what it depends on is behind it.
    var hasStarted: Bool
    /// Whether it could not be moved, and is left alone.
    var isSetAside = false
    /// What it waits for, or did; kept while it is pending.
    var dependencies: [TaskSlot] = []
    /// How many of those it has to wait for.
    var unmet: Int32 = 0
    /// How many of those end it, as they have failed.
    var fatal: Int32 = 0
    /// The pending tasks that name it among their dependencies.
    var dependents: Set<TaskSlot> = []

    init(_ row: TaskRow, swarm: SwarmSlot, key: Key, at place: RowID, since: UInt64) {
        self.swarm = swarm
        task = row.task
        self.key = key
        self.row = place
        status = row.status
        priority = Int32(clamping: row.priority)
        policy = row.failurePolicy
        attempt = Int32(clamping: row.attempt)
        maximumAttempts = Int32(clamping: row.maximumAttempts)
        notBefore = row.notBefore ?? 0
        self.since = since
        fence = row.fence ?? 0
        agent = row.agent
        assignee = row.assignee
        capabilities = Set(row.capabilities)
        hasStarted = row.startedAt != nil
    }

    /// Takes over what the row says now; not what it waits for.
    mutating func update(_ row: TaskRow, _ stored: StoredRegister) {
        var new = TaskNode(
            row, swarm: swarm, key: key, at: stored.row, since: stored.register.version.stamp.milliseconds)
        new.dependencies = dependencies
        new.unmet = unmet
        new.fatal = fatal
        new.dependents = dependents
        self = new
    }

    /// When something has to be done about it though nothing happens; nil: never. 0: at once.
    var dueAt: WallTime? {
        guard status == .pending, !isSetAside else { return nil }
        if fatal > 0 { return 0 }
        return unmet == 0 ? notBefore : nil
    }

    /// Whether it has anything to be remembered for.
    var isNeeded: Bool { !status.isTerminal || !dependents.isEmpty }
}

/// A task's place among those that are ready: the greatest is handed out first.
struct ReadyRank: Comparable, Sendable {
    let weight: Int64
    let row: RowID
    let slot: TaskSlot

    /// - Parameter aging: after how many seconds of waiting a task counts for one more of priority; 0: never. The one that waits longer is always
    ///   ahead by as much as before, so that the order of two never changes.
    init(_ node: TaskNode, _ slot: TaskSlot, aging: Int) {
        weight =
            aging == 0
            ? Int64(node.priority) : Int64(node.priority) * Int64(aging) * 1_000 - Int64(node.since)
        row = node.row
        self.slot = slot
    }

    static func < (left: ReadyRank, right: ReadyRank) -> Bool {
        if left.weight != right.weight { return left.weight < right.weight }
        return left.row.rawValue > right.row.rawValue
    }
}

/// When a task is due.
struct DueTask: Comparable, Sendable {
    let time: WallTime
    let row: RowID
    let slot: TaskSlot

    /// The last of a list is the first to be due.
    static func < (left: DueTask, right: DueTask) -> Bool {
        if left.time != right.time { return left.time > right.time }
        return left.row.rawValue > right.row.rawValue
    }
}
