import Agents
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// What must be true of a server whatever happens to it: it watches every commit, every acknowledgement and every register
/// that reaches the disk.
final class Oracle {
    /// A claim that is in force.
    private struct Claim {
        var fence: Fence
        var expiresAt: WallTime
    }

    private var head: Revision = 0
    /// The register of each key.
    private var latest: [Key: Register] = [:]
    private var revisions: [Key: Revision] = [:]
    /// Registers of a batch that have the op of the one that was on the disk, by revision: somebody else may have written
    /// in between, within the batch.
    private var repeated: [Revision: (op: String, first: Revision)] = [:]
    private var claims: [Key: Claim] = [:]
    /// The greatest fence ever given for each key.
    private var fences: [Key: Fence] = [:]
    private var stamps: Set<Version> = []
    private var batches = BatchLedger()
    private var tasks = TaskLedger()
    /// Another replica, which gets what clients wrote in an order of its own, and lets it expire by itself.
    private(set) var peer: [Key: Register] = [:]
    private var onTheWay: [Register] = []
    private var peerNow: WallTime = 0

    // MARK: Commits

    /// A batch was committed at `now` by the server's wall clock.
    func committed(_ batch: Committed, now: WallTime, _ world: World) {
        for result in batch.results.joined() {
            guard case .batchRefused = result.outcome, case .batch(let refused) = result.request.action else {
                continue
            }
            batches.refused(Outbox.name(of: refused.message), now: now, world)
        }
        for (place, change) in batch.changes.enumerated() {
            guard let revision = change.revision else { continue }
            if revision != head + 1 { world.note("revision \(revision) comes after \(head)") }
            head = revision
            let line = batch.made.frames(place..<(place + 1))
            guard let message = try? JSONObject(Array(line.readableBytesView.dropLast())),
                let register = SimulatedClient.register(message)
            else { return world.note("revision \(revision) is no update") }
            if let (op, first) = repeated[revision], revisions[register.key] == first {
                world.note("\(op) acted twice, with revisions \(first) and \(revision)")
            }
            revisions[register.key] = revision
            if latest[register.key]?.version != register.version { batches.note(register, revision: revision) }
            check(register, now: now, world)
            tasks.note(register, world)
        }
        repeated = [:]
        batches.committed(world.disk, now: now, world)
        if batch.head != head { world.note("a batch says that the head is \(batch.head), not \(head)") }
    }

    /// The server has started on what the disk has, which may be more than anyone was told of.
    func restarted(_ disk: SimulatedDisk, hasLost: Bool, _ world: World) {
        batches.restarted(disk, hasLost: hasLost, world)
        head = disk.head
        latest = disk.committed.mapValues(\.register)
        revisions = disk.committed.mapValues(\.revision)
        tasks.restarted(latest)
        repeated = [:]
        claims = disk.committed.compactMapValues { stored in
            guard stored.binding?.isExclusive == true, let expiresAt = stored.register.expiresAt else { return nil }
            return Claim(fence: stored.fence, expiresAt: expiresAt)
        }
        if hasLost {
            // What is lost is lost for the peer too.
            peer = latest
            onTheWay = []
        }
    }

    private func check(_ register: Register, now: WallTime, _ world: World) {
        let key = register.key
        if register.cause != nil, register.version != latest[key]?.version {
            world.note("the end of \(key) has a version of its own")
        }
        latest[key] = register
        // Its rows have fences too, which are those of its claims: see TaskLedger.
        if SwarmKey.isGuarded(key) { return }
        let inForce = claims[key].flatMap { $0.expiresAt > now ? $0 : nil }
        guard let value = register.value, let object = try? JSONObject(value) else {
            if register.cause == .expired, register.expiresAt.map({ $0 > now }) ?? true {
                world.note("\(key) expired at \(now), before its time \(register.expiresAt ?? 0)")
            }
            if register.value != nil, inForce != nil { world.note("\(key) was written over a claim in force") }
            claims[key] = nil
            return
        }
        if let fence = object.integer("fence").map({ Fence(UInt64($0)) }) {
            if let inForce, inForce.fence != fence {
                world.note("\(key) has two holders: fences \(inForce.fence) and \(fence)")
            }
            if fence != claims[key]?.fence, fence <= fences[key] ?? 0 {
                world.note("the fence of \(key) went from \(fences[key] ?? 0) to \(fence)")
            }
            claims[key] = Claim(fence: fence, expiresAt: register.expiresAt ?? 0)
            fences[key] = max(fences[key] ?? 0, fence)
        } else if let guarded = object.string("guard").flatMap({ try? Key($0) }), let token = object.integer("token") {
            let holder = claims[guarded].flatMap { $0.expiresAt > now ? $0 : nil }
            if holder?.fence != Fence(UInt64(token)) {
                world.note(
                    "a write with fence \(token) of \(guarded) was taken, where \(holder?.fence ?? 0) is in force")
            }
            if inForce != nil { world.note("\(key) was written over a claim in force") }
            claims[key] = nil
        } else if object.string("batch") != nil {
            if inForce != nil { world.note("\(key) was written over a claim in force") }
            claims[key] = nil
        }
    }

    /// A register has reached the disk in the place of another.
    func put(_ new: StoredRegister, _ old: StoredRegister?, now: WallTime, _ world: World) {
        batches.put(new.register)
        if let old {
            if Register.compare(new.register, old.register) <= 0 {
                world.note("\(new.register.key) went back on the disk, from \(old.register.version)")
            }
            checkTouch(new.register, old.register, now: now, world)
            let isRenewal = new.binding?.isExclusive == true || new.binding?.endsWithConnection == true
            let isTouch = new.register.version == old.register.version
            if let op = new.op, op == old.op, !isRenewal, !isTouch, new.register.cause == nil {
                repeated[new.revision] = (String(decoding: op, as: UTF8.self), old.revision)
            }
        }
        // Ends that come of themselves the peer finds out by itself; of connections it knows nothing.
        if new.register.cause != .expired { onTheWay.append(new.register) }
    }

    /// What a touch makes has a later time, and nothing else is new: it is not made of what is over.
    private func checkTouch(_ new: Register, _ old: Register, now: WallTime, _ world: World) {
        guard new.version == old.version, new.value == old.value, let expiry = old.expiresAt, let later = new.expiresAt,
            later > expiry
        else { return }
        if old.isTombstone { return world.note("the end of \(new.key) was touched") }
        if expiry <= now { world.note("\(new.key) was touched at \(now), when its time \(expiry) was over") }
        if old.metadata != new.metadata || old.session != new.session {
            world.note("a touch of \(new.key) changed more than its time")
        }
    }

    // MARK: Answers

    /// A client was told that its write is durable: then it is there, or something greater is.
    func acknowledged(_ key: Key, _ version: Version, _ world: World) {
        guard let stored = world.disk.committed[key] else {
            if world.disk.collectedStamp < version.stamp {
                world.note("\(version) of \(key) was acknowledged and is gone")
            }
            return
        }
        if stored.register.version < version { world.note("\(version) of \(key) was acknowledged and is not there") }
    }

    /// A client was told what became of a batch.
    func answered(_ batch: String, _ answer: JSONObject, _ world: World) {
        batches.answered(batch, answer, world)
    }

    /// A client was told that it has a task, or has completed it.
    func handedOut(_ task: Segment, _ fence: Fence, _ world: World) { tasks.handedOut(task, fence, world) }
    func completed(_ task: Segment, _ fence: Fence, _ world: World) { tasks.completed(task, fence, world) }

    /// A client was told which stamp the server gave.
    func stamped(_ version: Version, _ world: World) {
        if !stamps.insert(version).inserted { world.note("\(version) was given twice") }
    }

    // MARK: The peer

    /// Something of what is under way reaches the other replica, in any order, and once in a while twice.
    func gossip(_ random: inout SeededGenerator, wall: WallTime) {
        if !onTheWay.isEmpty {
            let index = Int.random(in: 0..<onTheWay.count, using: &random)
            deliver(Int.random(in: 0..<8, using: &random) == 0 ? onTheWay[index] : onTheWay.remove(at: index))
        }
        if Int.random(in: 0..<4, using: &random) == 0 { sweepPeer(now: wall) }
    }

    private func deliver(_ register: Register) {
        if Register.merge(register, into: peer[register.key]) == .applied { peer[register.key] = register }
    }

    private func sweepPeer(now: WallTime) {
        peerNow = max(peerNow, now)
        for (key, register) in peer where !register.isTombstone && register.isExpired(at: peerNow) {
            peer[key] = register.expired
        }
    }

    /// Everything has arrived, and everything whose time is over at `now` is swept.
    func settlePeer(now: WallTime) {
        for register in onTheWay { deliver(register) }
        onTheWay = []
        sweepPeer(now: now)
    }
}
