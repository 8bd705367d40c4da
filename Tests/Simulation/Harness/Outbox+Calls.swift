import Agents
import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// Calls that a simulated client makes up: see ``TaskLedger`` for what must be true of them.
extension Outbox {
    private static let names = (0..<10).map { segment("t\($0)") }
    private static let swarm = segment("s")

    private static func segment(_ text: String) -> Segment {
        guard let segment = try? Segment(text) else { preconditionFailure("\(text) is a name") }
        return segment
    }

    mutating func call(_ world: World) -> ClientMessage {
        let id = newID()
        let (name, action) = action(world)
        let isSafe = Int.random(in: 0..<3, using: &world.random) > 0
        let call = Call(
            name, id: id, op: isSafe ? Array("op-\(self.name)-\(nextID)".utf8) : nil, fingerprint: UInt64(nextID),
            swarm: Self.swarm, action: action)
        return note(.call(call), id, Key(unchecked: Array("swarm:s:config".utf8)), isSafe: isSafe, false)
    }

    private mutating func action(_ world: World) -> (Call.Name, Call.Action) {
        let task = Self.names.randomElement(using: &world.random) ?? Self.names[0]
        if Int.random(in: 0..<3, using: &world.random) == 0, let held = held(world) { return finish(held, world) }
        switch Int.random(in: 0..<20, using: &world.random) {
        case 0: return (.swarmInit, .initialize(SwarmSettings()))
        case 1...5: return (.taskSubmit, .submit(tasks(world)))
        case 6...12: return (.taskNext, .next(next(world)))
        case 13: return (.taskRetry, .retry(task, cascades: Bool.random(using: &world.random)))
        case 14: return (.taskCancel, .cancel(task, cascades: Bool.random(using: &world.random)))
        case 15: return (.taskResume, .resume(task))
        case 16: return (.taskRevoke, .revoke(task))
        case 17: return (.taskDepend, .depend(task, on: [Self.names.randomElement(using: &world.random) ?? task]))
        case 18:
            return Int.random(in: 0..<8, using: &world.random) == 0
                ? (.swarmEnd, .end) : (.taskResume, .resume(task))
        default:
            var membership = Membership()
            membership.timeToLive = Bool.random(using: &world.random) ? 20 : nil
            return (.swarmJoin, .join(membership))
        }
    }

    /// A task that it believes to have.
    private func held(_ world: World) -> FencedTask? {
        tasks.sorted { ByteOrder.compare($0.key.bytes, $1.key.bytes) < 0 }.randomElement(using: &world.random)
            .map { FencedTask(task: $0.key, fence: $0.value) }
    }

    private mutating func finish(_ held: FencedTask, _ world: World) -> (Call.Name, Call.Action) {
        switch Int.random(in: 0..<10, using: &world.random) {
        case 0...4: return (.taskComplete, .complete(held, result: world.newValue()))
        case 5:
            return (.taskFail, .fail(held, error: nil, retries: Bool.random(using: &world.random)))
        case 6: return (.taskRelease, .release(held))
        case 7: return (.taskPark, .park(held, reason: nil))
        default: return (.taskProgress, .progress(held, value: world.newValue()))
        }
    }

    private func tasks(_ world: World) -> [NewTask] {
        Self.names.shuffled(using: &world.random).prefix(Int.random(in: 1...3, using: &world.random)).map { name in
            var task = NewTask()
            task.id = name
            if Int.random(in: 0..<4, using: &world.random) == 0 { task.input = world.newValue() }
            task.priority = Int.random(in: 0...2, using: &world.random)
            let count = Int.random(in: 0...2, using: &world.random)
            task.dependencies = Array(Self.names.filter { $0 != name }.shuffled(using: &world.random).prefix(count))
            task.failurePolicy = FailurePolicy.allCases.randomElement(using: &world.random)
            task.maximumAttempts = [0, 1, 3].randomElement(using: &world.random)
            return task
        }
    }

    private func next(_ world: World) -> NextTask {
        var next = NextTask()
        next.endsWithConnection = Bool.random(using: &world.random)
        if !next.endsWithConnection { next.lease = UInt64.random(in: 5...60, using: &world.random) }
        next.wait = [0, 30, 100].randomElement(using: &world.random) ?? 0
        return next
    }

    /// What became of a call.
    mutating func answered(_ call: Call, _ type: String, _ message: JSONObject, _ world: World) {
        guard type == "task", let row = message.object("task"), let name = row.string("task_id"),
            let fence = row.integer("fence").map({ Fence(UInt64($0)) })
        else { return }
        let task = Self.segment(name)
        switch call.action {
        case .next:
            guard message.integer("fence") == row.integer("fence") else {
                return world.note("\(self.name) was handed \(name) with two fences: \(message.members)")
            }
            tasks[task] = fence
            world.oracle.handedOut(task, fence, world)
        case .complete(let held, _):
            if fence != held.fence { world.note("\(name) was completed under \(held.fence), and has \(fence)") }
            if row.string("status") != "completed" { world.note("\(name) was completed, and is \(row.members)") }
            tasks[task] = nil
            world.oracle.completed(task, fence, world)
        case .fail, .release, .park: tasks[task] = nil
        default: break
        }
    }
}
