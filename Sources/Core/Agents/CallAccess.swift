package import Registers
package import SyncEngine
package import SyncProtocol

/// What calls want to be allowed: writing the key that a call is about; what follows from it is the server's.
package enum CallAccess {
    /// - Parameter agent: who calls.
    package static func rights(_ call: Call, _ agent: Agent) throws(TextError) -> CallRights {
        let swarm = call.swarm
        let me = Segment(agent)
        switch call.action {
        case .initialize, .end: return CallRights(writes: [try SwarmKey.config(swarm).key()])
        case .status:
            // It names agents and tasks.
            return CallRights(reads: [
                try SwarmKey.config(swarm).key(), try SwarmKey.task(swarm, sample).key(),
                try SwarmKey.member(swarm, agent: sample).key(),
            ])
        case .join, .leave:
            return CallRights(writes: [try SwarmKey.presence(swarm, agent: me, presence: sample).key()])
        case .submit(let tasks):
            // Names that the server gives are looked at when it has given them.
            var rights = CallRights(some: self.tasks(of: swarm))
            for task in tasks {
                guard let id = task.id else { continue }
                rights.writes.append(try SwarmKey.task(swarm, id).key())
            }
            return rights
        case .next:
            // It is offered the tasks that its credentials admit.
            return CallRights(some: self.tasks(of: swarm))
        case .progress(let fenced, _), .complete(let fenced, _), .fail(let fenced, _, _), .release(let fenced),
            .park(let fenced, _):
            return CallRights(writes: [try SwarmKey.task(swarm, fenced.task).key()])
        case .resume(let task), .retry(let task, _), .cancel(let task, _), .assign(let task, _), .revoke(let task),
            .depend(let task, _):
            return CallRights(writes: [try SwarmKey.task(swarm, task).key()])
        case .send(let mail):
            let key =
                try mail.to.map { to throws(TextError) in
                    try SwarmKey.inbox(swarm, agent: to, stamp: sample.bytes).key()
                } ?? SwarmKey.board(swarm, stamp: sample.bytes).key()
            return CallRights(writes: [key])
        case .acknowledge(let keys): return CallRights(writes: keys)
        }
    }

    /// The tasks of a swarm.
    private static func tasks(of swarm: Segment) -> Pattern? {
        try? Pattern(Pattern.escaping(SwarmKey.tasksPrefix(swarm)) + [UInt8(ascii: "*")])
    }

    /// What stands for a name that the server is to give.
    private static let sample: Segment = {
        guard let segment = try? Segment("*") else { preconditionFailure("it is a name") }
        return segment
    }()
}
