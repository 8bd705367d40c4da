import Registers
import SyncEngine
import SyncProtocol
import TestSupport
import Transport

/// A server, its disk, the network and its clients in one thread, driven by a random source.
final class World {
    /// How long tombstones are kept here, in milliseconds: short, so that cursors fall behind it.
    private static let retention: UInt64 = 30
    /// As many messages as are taken before a client is read from no further, each with its answer: those to calls are the longest.
    private static let maximumReplies = 48 << 10

    var random: SeededGenerator
    let disk: SimulatedDisk
    let oracle = Oracle()
    private(set) var server: SimulatedServer
    let clients: [SimulatedClient]
    private(set) var problems: [String] = []
    /// The wall clock, which may be set.
    private(set) var wall: WallTime = 10_000_000
    /// The latest time that it has shown.
    private var latest: WallTime = 10_000_000
    private var values = 0
    /// Whether this is a world in which nothing fails, so that clients stay for long, and get to be slow.
    private let isCalm: Bool
    /// Whether its clients make calls, too.
    let hasSwarm: Bool
    /// Whether the disk and the machine fail just now.
    private var isStormy = false
    /// Connections whose clients are gone, and which the server has not noticed.
    private var abandoned: [(connection: SimulatedConnection, loop: Int)] = []
    private let loops = 2

    init(seed: UInt64) {
        random = SeededGenerator(seed: seed)
        disk = SimulatedDisk(syncsCommits: Int.random(in: 0..<4, using: &random) > 0)
        isCalm = Bool.random(using: &random)
        hasSwarm = Bool.random(using: &random)
        let count = Int.random(in: 2...4, using: &random)
        var skews: [Int64] = []
        for _ in 0..<count {
            let isFar = Int.random(in: 0..<4, using: &random) == 0
            skews.append(isFar ? Int64.random(in: -70_000...70_000, using: &random) : 0)
        }
        clients = skews.enumerated().map { SimulatedClient(name: "c\($0.offset)", skew: $0.element) }
        server = SimulatedServer(disk: disk, loops: loops, now: wall)
        disk.whenPut = { [unowned self] new, old in oracle.put(new, old, now: server.now, self) }
        begin()
    }

    /// How often what happened, for a person to see that the worlds are not dull.
    private(set) var events: [String: Int] = [:]

    func note(_ problem: String) { problems.append(problem) }

    func count(_ event: String, _ times: Int = 1) { events[event, default: 0] += times }

    func newValue() -> [UInt8] {
        values += 1
        return Array("\(values)".utf8)
    }

    // MARK: Steps

    /// Lets one thing happen, chosen by chance.
    func step() {
        passTime(UInt64.random(in: 0...2, using: &random))
        switch Int.random(in: 0..<44, using: &random) {
        case 0...11: clients.randomElement(using: &random).map(act)
        case 12...16: server.commit(from: server.loops.filter { _ in Bool.random(using: &random) })
        case 17...20: server.readOne(&random)
        case 21...25: server.handOverOne(&random)
        case 26...30: server.deliverOne(&random)
        case 31...38: transfer()
        case 39: server.loops.randomElement(using: &random).map(server.tick)
        case 40: noticeAbandoned()
        case 40...41 where Bool.random(using: &random): server.collect(retention: Self.retention)
        case 41: oracle.gossip(&random, wall: wall)
        case 42:
            rare()
            if !isCalm, Int.random(in: 0..<12, using: &random) == 0 { isStormy.toggle() }
        default:
            disk.clean()
            if !disk.syncsCommits { disk.sync() }
        }
        if disk.isPowerCut { crash(losesUnsynced: true) }
        check()
    }

    /// What happens now and then only.
    private func rare() {
        switch Int.random(in: isStormy ? 0..<12 : 3..<12, using: &random) {
        case 0: crash(losesUnsynced: Bool.random(using: &random))
        case 1: disk.callsUntilPowerCut = Int.random(in: 1...6, using: &random)
        case 2:
            disk.fault = [.commitLost, .commitKept, .begin, .put].randomElement(using: &random) ?? .none
            disk.isBlind = Int.random(in: 0..<3, using: &random) == 0
        case 3...5:
            disk.fault = .none
            disk.isBlind = false
        case 6 where Bool.random(using: &random): setClock()
        case 7...8:
            // Deletes are forgotten that some have not heard of.
            passTime(Self.retention + UInt64.random(in: 1...20, using: &random))
            server.collect(retention: Self.retention)
        default: passTime(UInt64.random(in: 0...100, using: &random))
        }
    }

    private func passTime(_ milliseconds: UInt64) {
        wall = wall + milliseconds
        latest = max(latest, wall)
        server.advance(wall: wall)
    }

    /// The wall clock is set, forward or back.
    private func setClock() {
        count("clock jumps")
        let jump = Int64.random(in: -90_000...90_000, using: &random)
        wall = WallTime(milliseconds: UInt64(max(1_000_000, Int64(wall.milliseconds) + jump)))
        passTime(0)
    }

    /// The server is gone from one moment to the next, and starts again on what the disk has.
    private func crash(losesUnsynced: Bool) {
        for client in clients {
            if let connection = client.connection { cut(client, connection) }
        }
        abandoned = []
        count(disk.isPowerCut ? "power cuts in a commit" : "crashes")
        let hasLost = disk.restart(losesUnsynced: losesUnsynced, now: wall, random: &random)
        server = SimulatedServer(disk: disk, loops: loops, now: wall)
        oracle.restarted(disk, hasLost: hasLost, self)
        begin()
    }

    private func begin() {
        server.whenCommitted = { [unowned self] batch, now in
            oracle.committed(batch, now: now, self)
            if hasSwarm, batch.head.rawValue.isMultiple(of: 4) { server.checkRules(disk, self) }
        }
        server.start()
    }

    // MARK: Clients

    private func act(_ client: SimulatedClient) {
        guard let connection = client.connection else { return connect(client) }
        if !client.hasSubscriptions, Bool.random(using: &random), let message = client.subscribe(&random) {
            connection.uplink.append(message)
            return
        }
        switch Int.random(in: 0..<24, using: &random) {
        case 0 where Int.random(in: 0..<(isCalm ? 20 : 2), using: &random) == 0:
            cut(client, connection)
            abandoned.append((connection, client.loop))
        case 1...4: if let message = client.subscribe(&random) { connection.uplink.append(message) }
        case 5...6: if let message = client.unsubscribe(&random) { connection.uplink.append(message) }
        case 7: connection.uplink.append(.get(id: nil, key: Key(unchecked: Array("a:1".utf8))))
        default:
            let now = WallTime(milliseconds: UInt64(max(1_000, Int64(wall.milliseconds) + client.skew)))
            connection.uplink.append(client.outbox.request(self, now: now))
        }
    }

    private func connect(_ client: SimulatedClient) {
        client.loop = Int.random(in: 0..<loops, using: &random)
        let isSlow = client === clients.last
        let capacity = isSlow ? 200 : [300, 1_000, 100_000].randomElement(using: &random) ?? 300
        client.connected(server.connect(client, loop: client.loop, capacity: capacity, random: random.next()))
    }

    /// The network between a client and the server is gone: of what was under way, any first part still arrives.
    private func cut(_ client: SimulatedClient, _ connection: SimulatedConnection) {
        let bytes = connection.read(Int.random(in: 0...400, using: &random))
        client.receive(bytes, self)
        connection.uplink.removeLast(Int.random(in: 0...connection.uplink.count, using: &random))
        client.disconnected()
    }

    /// Something goes from one end of a connection to the other.
    private func transfer() {
        guard let client = clients.randomElement(using: &random), let connection = client.connection else {
            return readAbandoned()
        }
        switch Int.random(in: 0..<6, using: &random) {
        case 0...1: _ = server.read(connection, loop: client.loop)
        case 2: server.writable(connection, loop: client.loop)
        default:
            // The last of the clients is a slow reader.
            let limit = client === clients.last ? (isCalm ? 40 : 120) : 4_000
            client.receive(connection.read(Int.random(in: 1...limit, using: &random)), self)
            // Some leave as soon as they know where to go on from.
            if client.takesCursor(), Int.random(in: 0..<(isCalm ? 12 : 4), using: &random) == 0 {
                cut(client, connection)
                abandoned.append((connection, client.loop))
            }
        }
    }

    private func readAbandoned() {
        guard let (connection, loop) = abandoned.first else { return }
        _ = server.read(connection, loop: loop)
    }

    private func noticeAbandoned() {
        guard !abandoned.isEmpty else { return }
        let (connection, loop) = abandoned.remove(at: Int.random(in: 0..<abandoned.count, using: &random))
        server.forget(connection, loop: loop)
    }

    private func check() {
        for loop in server.loops {
            for connection in loop.connections.values
            where connection.outbound.backlog > SimulatedServer.maximumBacklog + Self.maximumReplies {
                note("\(connection.client.name) has a backlog of \(connection.outbound.backlog) bytes")
            }
        }
    }

    // MARK: The end

    /// Lets everything that is under way arrive, and lets no client ask for anything new.
    func settle() {
        disk.fault = .none
        disk.isBlind = false
        disk.callsUntilPowerCut = nil
        while !abandoned.isEmpty { noticeAbandoned() }
        for client in clients where client.connection == nil { connect(client) }
        // Past every time to live; what ends with a connection is kept up meanwhile.
        wall = max(wall, latest)
        for _ in 0..<8 {
            passTime(20)
            for loop in server.loops { server.tick(loop) }
            quiesce()
        }
    }

    private func quiesce() {
        var isBusy = true
        var rounds = 0
        while isBusy, problems.isEmpty {
            rounds += 1
            if rounds > 10_000 { note("the world does not come to rest") }
            isBusy = server.commit(from: server.loops)
            while server.readOne(&random) || server.handOverOne(&random) || server.deliverOne(&random) { isBusy = true }
            for client in clients {
                guard let connection = client.connection else { continue }
                while server.read(connection, loop: client.loop) { isBusy = true }
                server.writable(connection, loop: client.loop)
                let bytes = connection.read(.max)
                if !bytes.isEmpty { isBusy = true }
                client.receive(bytes, self)
            }
        }
    }

    /// Compares everyone with the disk, once everything has settled.
    func compare() {
        let state = disk.committed.values.map(\.register)
        for client in clients {
            if client.unsyncedCount > 0 { note("\(client.name) waits for synced") }
            for (pattern, held) in client.replicas {
                let wanted = state.filter { pattern.matches($0.key) && !$0.isTombstone }
                compare(client.name, held.values.filter { !$0.isTombstone }, wanted, pattern)
            }
        }
        checkHolds()
        server.checkRules(disk, self)
        oracle.settlePeer(now: max(latest, wall))
        // A tombstone that one has collected and the other has not is no difference.
        compare(
            "the peer", oracle.peer.values.filter { !$0.isTombstone }, state.filter { !$0.isTombstone }, .everything)
        for register in state {
            if let other = oracle.peer[register.key], Register.compare(other, register) != 0 {
                note("the peer ends with another \(register.key): \(other.version), not \(register.version)")
            }
        }
        for loop in server.loops where !loop.shard.isQuiescent {
            note("something is kept that nobody will ask for")
        }
    }

    /// What is kept up for a connection is known to that one, which will end it. (What is not kept up ends by its time.)
    private func checkHolds() {
        let known = server.loops.reduce(into: Set<EphemeralKey>()) { $0.formUnion($1.shard.ephemeralKeys) }
        for (key, stored) in disk.committed where stored.binding?.endsWithConnection == true {
            if server.committer.isKeptUp(stored), !known.contains(EphemeralKey(key: key, fence: stored.fence)) {
                note("\(key) is kept up for a connection, and none knows it: fence \(stored.fence)")
            }
        }
    }

    private func compare(_ name: String, _ held: [Register], _ wanted: [Register], _ pattern: Pattern) {
        let left = Dictionary(uniqueKeysWithValues: held.map { ($0.key, $0) })
        let right = Dictionary(uniqueKeysWithValues: wanted.map { ($0.key, $0) })
        for key in Set(left.keys).union(right.keys).sorted() {
            let isSame = left[key].flatMap { left in right[key].map { Register.compare(left, $0) == 0 } } ?? false
            if !isSame {
                note(
                    "\(name), \(pattern): \(key) is \(left[key]?.version.description ?? "absent"), "
                        + "not \(right[key]?.version.description ?? "absent")")
            }
        }
    }
}
