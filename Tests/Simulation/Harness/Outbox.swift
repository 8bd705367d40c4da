import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// What a simulated client has asked for and has no answer to, and the claims that it believes to have.
struct Outbox {
    private struct Pending {
        var message: ClientMessage
        var key: Key
        /// Whether it may be sent again without the danger of acting twice.
        var isSafe: Bool
        /// Whether the server stamps it, and this is the first time that it is sent.
        var isFreshlyStamped: Bool
    }

    let name: String
    private var pending: [(id: String, request: Pending)] = []
    private(set) var nextID = 0
    /// The fences of claims, by key.
    var claims: [Key: Fence] = [:]
    /// The fences of tasks that it has.
    var tasks: [Segment: Fence] = [:]
    /// What batches of its own have last left in place, as far as it knows.
    var versions: [Key: Version] = [:]

    init(name: String) {
        self.name = name
    }

    // MARK: Asking

    /// Makes up a request.
    mutating func request(_ world: World, now: WallTime) -> ClientMessage {
        switch Int.random(in: 0..<(world.hasSwarm ? 16 : 10), using: &world.random) {
        case 10...15: call(world)
        case 0: lease(world)
        case 1 where Bool.random(using: &world.random): presence(world)
        case 2 where Bool.random(using: &world.random): touch(world)
        case 3: batch(world)
        default: write(world, now: now)
        }
    }

    private mutating func write(_ world: World, now: WallTime) -> ClientMessage {
        let id = newID()
        // Some keys are written all the time, and some hardly ever.
        let seldom = "d:\(Int.random(in: 0..<40, using: &world.random))"
        let text =
            ["a:1", "a:2", "b:1", "b:1:x", "c", "l:1", seldom, seldom].randomElement(using: &world.random) ?? "c"
        var write = ClientMessage.Write(id: id, key: Key(unchecked: Array(text.utf8)), value: world.newValue())
        if Int.random(in: 0..<4, using: &world.random) == 0 { write.value = nil }
        var isSafe = false
        switch Int.random(in: 0..<6, using: &world.random) {
        case 0: write.stamping = .timestamp((now - UInt64.random(in: 0...5, using: &world.random)).milliseconds)
        case 1:
            let stamp = Stamp(milliseconds: (now - UInt64.random(in: 0...3, using: &world.random)).milliseconds)
            write.stamping = .version(Version(stamp: stamp, agent: Agent(random: 1)))
            isSafe = true
        case 2:
            write.op = Array("op-\(name)-\(nextID)".utf8)
            isSafe = true
        case 3: write.condition = .absent
        default: break
        }
        if write.value != nil {
            switch Int.random(in: 0..<10, using: &world.random) {
            case 0 where write.condition == .none: write.isTransient = true
            case 1...2: write.timeToLive = UInt64.random(in: 1...40, using: &world.random)
            case 3:
                if let (key, token) = claims.sorted(by: { $0.key < $1.key }).randomElement(using: &world.random) {
                    write.fence = ClientMessage.FencedKey(key: key, fence: token)
                    write.value = Array(#"{"guard":"\#(key)","token":\#(token)}"#.utf8)
                }
            default: break
            }
        }
        return note(.write(write), id, write.key, isSafe: isSafe && !write.isTransient, write.stamping == .server)
    }

    private mutating func touch(_ world: World) -> ClientMessage {
        let id = newID()
        let text = ["a:1", "a:2", "b:1", "c", "l:1", "p:\(name)", "d:1"].randomElement(using: &world.random) ?? "c"
        let key = Key(unchecked: Array(text.utf8))
        let touch = ClientMessage.Touch(
            id: id, key: key, timeToLive: UInt64.random(in: 1...60, using: &world.random))
        return note(.touch(touch), id, key, isSafe: true, false)
    }

    private mutating func presence(_ world: World) -> ClientMessage {
        let id = newID()
        let key = Key(unchecked: Array("p:\(name)".utf8))
        var write = ClientMessage.Write(
            id: id, key: key, value: world.newValue(), op: Array("op-\(name)-\(nextID)".utf8))
        write.endsWithConnection = true
        return note(.write(write), id, key, isSafe: true, true)
    }

    private mutating func lease(_ world: World) -> ClientMessage {
        let id = newID()
        let held = claims.sorted { $0.key < $1.key }.randomElement(using: &world.random)
        if let (key, fence) = held, Bool.random(using: &world.random) {
            let isRenewal = Bool.random(using: &world.random)
            var lease = ClientMessage.Lease(isRenewal ? .renew : .release, id: id, key: key, fence: fence)
            if isRenewal { lease.timeToLive = UInt64.random(in: 5...60, using: &world.random) }
            return note(.lease(lease), id, key, isSafe: false, false)
        }
        let key = Key(unchecked: Array("l:\(Int.random(in: 1...2, using: &world.random))".utf8))
        var lease = ClientMessage.Lease(.claim, id: id, key: key)
        lease.op = Array("op-\(name)-\(nextID)".utf8)
        lease.endsWithConnection = Bool.random(using: &world.random)
        if !lease.endsWithConnection || Bool.random(using: &world.random) {
            lease.timeToLive = UInt64.random(in: 5...60, using: &world.random)
        }
        return note(.lease(lease), id, key, isSafe: true, false)
    }

    mutating func newID() -> RequestID {
        nextID += 1
        return RequestID(json: Array("\"w\(nextID)\"".utf8))
    }

    mutating func note(
        _ message: ClientMessage, _ id: RequestID, _ key: Key, isSafe: Bool, _ isServerStamped: Bool
    ) -> ClientMessage {
        pending.append(
            ("w\(nextID)", Pending(message: message, key: key, isSafe: isSafe, isFreshlyStamped: isServerStamped)))
        return message
    }

    /// What is sent again on a new connection: what can be without acting twice.
    mutating func resend() -> [ClientMessage] {
        pending.removeAll { !$0.request.isSafe }
        for index in pending.indices { pending[index].request.isFreshlyStamped = false }
        return pending.map(\.request.message)
    }

    // MARK: Answers

    mutating func answered(_ id: String, _ type: String, _ message: JSONObject, _ world: World) {
        guard let index = pending.firstIndex(where: { $0.id == id }) else {
            return world.note("\(name) got an answer to \(id), which is none of its requests")
        }
        let request = pending.remove(at: index).request
        let version = message.string("version").flatMap { try? Version($0) }
        switch type {
        case "claimed":
            guard let fence = message.integer("fence"), let version else {
                return world.note("claimed without a fence")
            }
            claims[request.key] = Fence(UInt64(fence))
            world.oracle.acknowledged(request.key, version, world)
        case "released", "refused": claims[request.key] = nil
        case "batched":
            guard case .batch(let batch) = request.message else { return world.note("batched is none") }
            answered(batch, message, isFresh: request.isFreshlyStamped, world)
        case "task", "tasks", "none", "swarm":
            guard case .call(let call) = request.message else { return world.note("\(type) is no answer to it") }
            answered(call, type, message, world)
        default:
            guard message.bool("applied") == true, message.bool("durable") == true, let version else { return }
            world.oracle.acknowledged(request.key, version, world)
            if request.isFreshlyStamped { world.oracle.stamped(version, world) }
        }
    }

    /// - Returns: what to send again at once.
    mutating func failed(_ id: String, _ message: JSONObject, _ world: World) -> ClientMessage? {
        guard let index = pending.firstIndex(where: { $0.id == id }) else { return nil }
        let request = pending[index].request
        var again: ClientMessage?
        let mayRetry = message.bool("retry") == true
        if mayRetry, pending[index].request.isSafe {
            // It stays, and is sent again on this connection or on the next one.
            pending[index].request.isFreshlyStamped = false
            let isDisk = ["storage_failed", "outcome_unknown"].contains(message.string("code") ?? "")
            if isDisk, Bool.random(using: &world.random) { again = pending[index].request.message }
        } else {
            pending.remove(at: index)
        }
        let code = message.string("code") ?? ""
        if code == "stale_fence", case .call(let call) = request.message, case .complete(let held, _) = call.action {
            tasks[held.task] = nil
        }
        let expected = ["drift", "stale_version", "held", "stale_fence", "storage_failed", "outcome_unknown"]
        let ofCalls = [
            "absent", "exists", "not_ready", "cycle", "missing_dependency", "too_many_waiters", "too_many_holds",
            "too_many_tasks",
        ]
        if !expected.contains(code), !ofCalls.contains(code) { world.note("\(name) got \(message.members)") }
        return again
    }
}
