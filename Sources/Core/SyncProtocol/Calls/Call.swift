package import Registers

/// A call: a message whose `type` has a dot. It asks for something that rules decide on over the registers of a swarm, in the commit that
/// carries it out. An object, as it is rare beside writes, and great.
package final class Call: Sendable {
    /// The types of calls: one row each of the table in protocol/README.md.
    package enum Name: String, CaseIterable, Sendable {
        case swarmInit = "swarm.init"
        case swarmJoin = "swarm.join"
        case swarmLeave = "swarm.leave"
        case swarmStatus = "swarm.status"
        case swarmEnd = "swarm.end"
        case taskSubmit = "task.submit"
        case taskNext = "task.next"
        case taskProgress = "task.progress"
        case taskComplete = "task.complete"
        case taskFail = "task.fail"
        case taskRelease = "task.release"
        case taskPark = "task.park"
        case taskResume = "task.resume"
        case taskRetry = "task.retry"
        case taskCancel = "task.cancel"
        case taskAssign = "task.assign"
        case taskRevoke = "task.revoke"
        case taskDepend = "task.depend"
        case messageSend = "message.send"
        case messageAcknowledge = "message.ack"
    }

    package enum Action: Sendable {
        case initialize(SwarmSettings)
        case join(Membership)
        case leave
        case status
        case end
        case submit([NewTask])
        case next(NextTask)
        /// `value`: nil only renews the lease.
        case progress(FencedTask, value: [UInt8]?)
        case complete(FencedTask, result: [UInt8]?)
        case fail(FencedTask, error: [UInt8]?, retries: Bool)
        case release(FencedTask)
        case park(FencedTask, reason: String?)
        case resume(Segment)
        case retry(Segment, cascades: Bool)
        case cancel(Segment, cascades: Bool)
        case assign(Segment, to: Segment?)
        case revoke(Segment)
        case depend(Segment, on: [Segment])
        case send(Mail)
        case acknowledge([Key])
    }

    package let name: Name
    package let id: RequestID?
    /// By which it is known again.
    package let op: [UInt8]?
    /// Tells it from other calls with the same `op`; 0 where it has none.
    package let fingerprint: UInt64
    package let swarm: Segment
    package let action: Action
    /// How many bytes its text has.
    package let size: Int

    package init(
        _ name: Name, id: RequestID? = nil, op: [UInt8]? = nil, fingerprint: UInt64 = 0, swarm: Segment, action: Action,
        size: Int = 0
    ) {
        self.name = name
        self.id = id
        self.op = op
        self.fingerprint = fingerprint
        self.swarm = swarm
        self.action = action
        self.size = size
    }
}

/// How the agents of a swarm are arranged: who may send messages and tasks to whom.
package enum Topology: String, CaseIterable, Sendable {
    case mesh, star, ring, hierarchical
}

/// What becomes of a task one of whose dependencies has failed, or was cancelled.
package enum FailurePolicy: String, CaseIterable, Sendable {
    /// It waits, until somebody has the dependency retried.
    case block
    /// It is cancelled, and what depends on it is judged in turn.
    case cancel
    /// It goes on: that all dependencies have ended is enough.
    case run
}

/// What `swarm.init` says of a swarm; what it does not say is nil.
package struct SwarmSettings: Equatable, Sendable {
    package var topology: Topology?
    package var coordinator: Segment?
    package var maximumAgents: Int?
    package var maximumAttempts: Int?
    /// How long the lease of a task lasts, in milliseconds.
    package var lease: UInt64?
    package var failurePolicy: FailurePolicy?
    /// After how many seconds of being ready a task's priority counts one more; 0: never.
    package var aging: Int?
    /// Whether `task:<id>:status` is kept for readers.
    package var mirrors: Bool?

    package init() {}
}

/// What `swarm.join` says of the agent that joins.
package struct Membership: Equatable, Sendable {
    package var role: [UInt8]?
    package var parent: Segment?
    package var position: Int?
    /// nil: as before.
    package var capabilities: [[UInt8]]?
    /// How long the agent counts as present, in milliseconds; nil: as long as its connection lasts.
    package var timeToLive: UInt64?
    /// An earlier presence to go on with, as the answer named it.
    package var presence: Segment?

    package init() {}
}

/// A task to be made.
package struct NewTask: Equatable, Sendable {
    package var id: Segment?
    package var input: [UInt8]?
    package var priority = 0
    package var dependencies: [Segment] = []
    package var agent: Segment?
    package var capabilities: [[UInt8]] = []
    package var parent: Segment?
    package var maximumAttempts: Int?
    package var failurePolicy: FailurePolicy?
    /// In milliseconds since 1970.
    package var notBefore: WallTime?

    package init() {}
}

/// What `task.next` asks for.
package struct NextTask: Equatable, Sendable {
    /// What the agent can do: tasks that want more are not for it.
    package var capabilities: Set<[UInt8]> = []
    /// How long the lease is to last unless it is renewed, in milliseconds; nil: as the swarm has it.
    package var lease: UInt64?
    package var endsWithConnection = false
    /// How long to wait for a task, in milliseconds.
    package var wait: UInt64 = 0

    package init() {}
}

/// A task, with the fencing token under which it was handed out.
package struct FencedTask: Equatable, Sendable {
    package var task: Segment
    package var fence: Fence

    package init(task: Segment, fence: Fence) {
        self.task = task
        self.fence = fence
    }
}

/// A message from one agent to another, or to all.
package struct Mail: Equatable, Sendable {
    /// nil: it is for the board, which all read.
    package var to: Segment?
    package var kind: [UInt8]?
    package var body: [UInt8]
    package var replyTo: [UInt8]?

    package init(to: Segment?, body: [UInt8]) {
        self.to = to
        self.body = body
    }
}
