import Agents
import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import TestSupport
import Transport

/// A run of a server, from a start to a stop or a crash: event loops, a committer and readers in one thread. Everything
/// that goes from one to another waits in a queue until chance has it delivered.
final class SimulatedServer {
    static let maximumBacklog = 700

    /// What one event loop has before it.
    final class Loop: ShardOutput {
        var shard: Shard
        var inbox: [Input] = []
        /// What is committed, and that the committer's thread has not told this loop of.
        var unpublished: [Committed] = []
        /// What a reader's thread has read, and not handed over.
        var unread: [Input] = []
        var writes: [WriteRequest] = []
        var jobs: [ReadJob] = []
        var connections: [Int32: SimulatedConnection] = [:]
        var backedUp: [Int32] = []

        init(_ shard: consuming Shard) { self.shard = shard }

        func send(_ frames: ByteBuffer, to slot: Int32) { send(frames, to: slot, of: nil) }
        func deliver(_ delivery: Delivery) {
            for slot in delivery.slots where !delivery.except.contains(slot) {
                send(delivery.frames, to: slot, of: delivery)
            }
        }
        func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {}
        func close(_ slot: Int32) {}
        func submit(_ requests: [WriteRequest]) { writes += requests }
        func submit(_ job: ReadJob) { jobs.append(job) }
        func submit(_ request: ServiceRequest) {}

        private func send(_ frames: ByteBuffer, to slot: Int32, of delivery: Delivery?) {
            guard let connection = connections[slot] else { return }
            connection.outbound.send(frames, of: delivery)
            if connection.outbound.backlog > maximumBacklog { backedUp.append(slot) }
        }
    }

    enum Input {
        case committed(Committed)
        case page(PageResult)
        case lookups(LookupResult)
    }

    /// Small enough for what is done in portions to take several.
    private static let limits: SwarmRules.Limits = {
        var limits = SwarmRules.Limits()
        limits.moves = 3
        limits.retention = 400
        return limits
    }()

    private(set) var committer: Committer<SimulatedDisk, SwarmRules>
    let loops: [Loop]
    /// The wall clock as the server sees it: never going back while it runs.
    private(set) var now: WallTime
    private let disk: SimulatedDisk
    /// Told of every commit, and of when it was made.
    var whenCommitted: (Committed, WallTime) -> Void = { _, _ in }

    init(disk: SimulatedDisk, loops count: Int, now: WallTime) {
        self.disk = disk
        self.now = now
        guard let state = try? disk.state() else { preconditionFailure("the disk was made readable") }
        committer = Committer(
            store: disk, state: state, loops: count, maximumDrift: 60_000, cacheSize: 4_096,
            rules: SwarmRules(node: "n", limits: Self.limits), framing: Simulation.framing)
        let welcome = Welcome(
            server: "s", node: "n", limits: .init(value: 1 << 20, message: 1 << 21, subscriptions: 100, drift: 60_000),
            pingInterval: 1)
        loops = (0..<count).map {
            var configuration = Shard.Configuration(loop: $0, welcome: welcome, framing: Simulation.framing)
            // Few enough for clients to have to take turns.
            configuration.maximumPages = 1
            configuration.rights = CallAccess.rights
            // Sometimes who comes back is served from memory, sometimes from the disk.
            configuration.recentCapacity = [0, 1_500, 1 << 20][(Int(truncatingIfNeeded: now.milliseconds) + $0) % 3]
            return Loop(Shard(configuration: configuration, state: state))
        }
    }

    /// What happens before anyone is served.
    func start() {
        while true {
            let (commit, _) = committer.endEphemerals(now: now)
            publish(commit)
            if commit.changes.isEmpty { return }
        }
    }

    func advance(wall: WallTime) { now = max(now, wall) }

    // MARK: Connections

    func connect(_ client: SimulatedClient, loop index: Int, capacity: Int, random: UInt64) -> SimulatedConnection {
        let loop = loops[index]
        let id = loop.shard.connectionOpened(agent: Agent(random: random), now: now)
        let connection = SimulatedConnection(id: id, client: client, capacity: capacity)
        loop.connections[id.slot] = connection
        run(loop)
        return connection
    }

    /// The server notices that a connection is gone.
    func forget(_ connection: SimulatedConnection, loop index: Int) {
        let loop = loops[index]
        connection.outbound.closed()
        loop.shard.connectionClosed(connection.id)
        loop.connections[connection.id.slot] = nil
        run(loop)
    }

    /// Reads the next message of a connection, if it may be read from.
    func read(_ connection: SimulatedConnection, loop index: Int) -> Bool {
        let loop = loops[index]
        guard !connection.uplink.isEmpty, connection.outbound.backlog <= Self.maximumBacklog,
            !loop.shard.isSaturated(connection.id)
        else { return false }
        let message = connection.uplink.removeFirst()
        loop.shard.messageReceived(.message(message), from: connection.id, Turn(head: committer.head, now: now))
        run(loop)
        return true
    }

    /// A socket is ready to take more.
    func writable(_ connection: SimulatedConnection, loop index: Int) {
        guard connection.writePending() else { return }
        loops[index].shard.socketDrained(connection.id, Turn(head: committer.head, now: now))
        run(loops[index])
    }

    // MARK: Threads

    func tick(_ loop: Loop) {
        loop.shard.keepEphemerals(now: now)
        loop.shard.noticeCursors()
        run(loop)
    }

    /// The committer takes what waits, and what is over.
    @discardableResult
    func commit(from sources: [Loop]) -> Bool {
        var requests: [WriteRequest] = []
        for loop in sources {
            requests += loop.writes
            loop.writes = []
        }
        guard !requests.isEmpty || committer.nextDue.map({ $0 <= now }) ?? false else { return false }
        let (commit, _) = committer.commit(requests, now: now)
        publish(commit)
        return true
    }

    func collect(retention: UInt64) {
        publish(committer.collect(retention: retention, now: now).changes)
    }

    private func publish(_ commit: Committed) {
        whenCommitted(commit, now)
        for loop in loops { loop.unpublished.append(commit) }
    }

    /// Other threads get round to handing something over: commits in their order, what was read in any.
    @discardableResult
    func handOverOne(_ random: inout SeededGenerator) -> Bool {
        let waiting = loops.filter { !$0.unpublished.isEmpty || !$0.unread.isEmpty }
        guard let loop = waiting.randomElement(using: &random) else { return false }
        if loop.unread.isEmpty || (!loop.unpublished.isEmpty && Bool.random(using: &random)) {
            loop.inbox.append(.committed(loop.unpublished.removeFirst()))
        } else {
            loop.inbox.append(loop.unread.remove(at: Int.random(in: 0..<loop.unread.count, using: &random)))
        }
        return true
    }

    @discardableResult
    func readOne(_ random: inout SeededGenerator) -> Bool {
        guard let loop = loops.filter({ !$0.jobs.isEmpty }).randomElement(using: &random) else { return false }
        let job = loop.jobs.remove(at: Int.random(in: 0..<loop.jobs.count, using: &random))
        switch job {
        case .page(let request):
            loop.unread.append(.page(reader(&random).page(request, now: now)))
        case .lookups(let request): loop.unread.append(.lookups(reader(&random).look(up: request, now: now)))
        }
        return true
    }

    /// The product's own reader, which takes so little at once that small worlds have many pages.
    private func reader(_ random: inout SeededGenerator) -> PageReader<SimulatedDisk> {
        var limits = PageReader<SimulatedDisk>.Limits()
        limits.rows = Int.random(in: 1...3, using: &random)
        return PageReader(store: disk, framing: Simulation.framing, limits: limits)
    }

    @discardableResult
    func deliverOne(_ random: inout SeededGenerator) -> Bool {
        guard let loop = loops.filter({ !$0.inbox.isEmpty }).randomElement(using: &random) else { return false }
        switch loop.inbox.removeFirst() {
        case .committed(let commit): loop.shard.changesCommitted(commit, Turn(head: committer.head, now: now))
        case .page(let page): loop.shard.pageRead(page, Turn(head: committer.head, now: now))
        case .lookups(let result): loop.shard.lookupsRead(result, Turn(head: committer.head, now: now))
        }
        run(loop)
        return true
    }

    /// Carries out what a shard wants done, and tells it what became of the sockets, as a `LoopDriver` does.
    private func run(_ loop: Loop) {
        repeat {
            loop.shard.flush(into: loop)
            let slots = loop.backedUp
            loop.backedUp = []
            for slot in slots {
                guard let connection = loop.connections[slot] else { continue }
                loop.shard.socketBackedUp(connection.id, dropped: connection.outbound.drop())
                if connection.outbound.backlog == 0 {
                    loop.shard.socketDrained(connection.id, Turn(head: committer.head, now: now))
                }
            }
            loop.shard.flush(into: loop)
        } while !loop.backedUp.isEmpty
    }
}
