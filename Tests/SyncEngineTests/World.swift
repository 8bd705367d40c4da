import NIOCore
import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// Event loops, a committer, readers and clients in one thread, driven by a random source: everything that goes from one
/// to another waits in a queue until chance has it delivered.
final class World {
    static let framing: Framing = { buffer, body in
        body(&buffer)
        buffer.writeStaticString("\n")
    }

    /// What one event loop has before it.
    final class Loop: ShardOutput {
        var shard: Shard
        var inbox: [LoopInput] = []
        /// Batches that are committed, and that the committer's thread has not told this loop of.
        var unpublished: [CommittedBatch] = []
        /// What a reader's thread has read, and not handed over.
        var unread: [LoopInput] = []
        var writes: [WriteRequest] = []
        var jobs: [ReadJob] = []
        var sent: [(slot: Int32, frames: ByteBuffer)] = []
        var closed: Set<Int32> = []

        init(_ shard: Shard) { self.shard = shard }

        func send(_ frames: ByteBuffer, to slot: Int32) { sent.append((slot, frames)) }
        func deliver(_ frames: ByteBuffer, to slots: [Int32], except: Set<Int32>) {
            for slot in slots where !except.contains(slot) { sent.append((slot, frames)) }
        }
        func close(_ slot: Int32) { closed.insert(slot) }
        func submit(_ requests: [WriteRequest]) { writes += requests }
        func submit(_ job: ReadJob) { jobs.append(job) }
    }

    enum LoopInput {
        case batch(CommittedBatch)
        case page(PageResult)
        case lookups(LookupResult)
    }

    var random: SeededGenerator
    let store = MemoryStore()
    var committer: Committer<MemoryStore>
    var loops: [Loop]
    var clients: [SimulatedClient]
    var now: UInt64 = 1_000_000
    private(set) var problems: [String] = []

    init(seed: UInt64, loops count: Int = 2, clients clientCount: Int) {
        random = SeededGenerator(seed: seed)
        let state = StoreState(epoch: store.epoch, head: 0, clockBound: .zero)
        committer = Committer(
            store: store, state: state, loops: count, maximumDrift: 60_000, cacheSize: 4_096, framing: Self.framing)
        let welcome = Welcome(
            server: "s", node: "n", limits: .init(value: 1 << 20, message: 1 << 21, subscriptions: 100, drift: 60_000),
            pingInterval: 1)
        loops = (0..<count).map {
            Loop(Shard(configuration: .init(loop: $0, welcome: welcome, framing: Self.framing), state: state))
        }
        clients = (0..<clientCount).map { SimulatedClient(name: "c\($0)") }
    }

    func note(_ problem: String) { problems.append(problem) }

    // MARK: Steps

    /// Lets one thing happen, chosen by chance.
    func step() {
        now += UInt64.random(in: 0...2, using: &random)
        switch Int.random(in: 0..<16, using: &random) {
        case 0...4: act(clients.randomElement(using: &random))
        case 5...6: commitSome()
        case 7...8: readOne()
        case 9...11: handOverOne()
        default: deliverOne()
        }
    }

    /// Lets everything that is under way arrive, and lets no client do anything more.
    func settle() {
        for client in clients where client.isBackedUp { drain(client) }
        while commitSome(all: true) || readOne() || handOverOne() || deliverOne() {}
    }

    private func act(_ client: SimulatedClient?) {
        guard let client else { return }
        guard let id = client.connection else { return connect(client) }
        switch Int.random(in: 0..<20, using: &random) {
        case 0: disconnect(client)
        case 1: backUp(client)
        case 2...3: drain(client)
        case 4...7: if let message = client.subscribe(&random) { receive(message, from: client, id) }
        case 8: if let message = client.unsubscribe(&random) { receive(message, from: client, id) }
        case 9: receive(.get(id: nil, key: Self.key(&random)), from: client, id)
        default: receive(.write(write()), from: client, id)
        }
    }

    private static func key(_ random: inout SeededGenerator) -> Key {
        Key(unchecked: Array(["a:1", "a:2", "b:1", "b:1:x", "c"].randomElement(using: &random)?.utf8 ?? "c".utf8))
    }

    private func write() -> ClientMessage.Write {
        let isDelete = Int.random(in: 0..<5, using: &random) == 0
        let number = UInt8.random(in: 0...9, using: &random)
        var write = ClientMessage.Write(key: Self.key(&random), value: isDelete ? nil : [UInt8(ascii: "0") + number])
        switch Int.random(in: 0..<4, using: &random) {
        case 0: write.stamping = .timestamp(now - UInt64.random(in: 0...5, using: &random))
        case 1:
            let stamp = Stamp(milliseconds: now - UInt64.random(in: 0...3, using: &random))
            write.stamping = .version(Version(stamp: stamp, agent: Agent(random: 1)))
        default: break
        }
        if !isDelete, Int.random(in: 0..<10, using: &random) == 0 { write.isTransient = true }
        return write
    }

    func connect(_ client: SimulatedClient) {
        client.loop = Int.random(in: 0..<loops.count, using: &random)
        let loop = loops[client.loop]
        let id = loop.shard.connect(agent: Agent(random: random.next()), now: now)
        client.connected(id)
        flush(loop)
    }

    func receive(_ message: ClientMessage, from client: SimulatedClient, _ id: ConnectionID) {
        let loop = loops[client.loop]
        loop.shard.receive(.message(message), from: id, head: committer.head, now: now)
        flush(loop)
    }

    private func disconnect(_ client: SimulatedClient) {
        guard let id = client.connection else { return }
        loops[client.loop].shard.disconnect(id)
        client.disconnected()
    }

    private func backUp(_ client: SimulatedClient) {
        guard let id = client.connection else { return }
        client.isBackedUp = true
        loops[client.loop].shard.backedUp(id)
    }

    private func drain(_ client: SimulatedClient) {
        guard let id = client.connection else { return }
        client.isBackedUp = false
        loops[client.loop].shard.drained(id, head: committer.head, now: now)
        flush(loops[client.loop])
    }

    @discardableResult
    private func commitSome(all: Bool = false) -> Bool {
        var requests: [WriteRequest] = []
        for loop in loops where all || Bool.random(using: &random) {
            requests += loop.writes
            loop.writes = []
        }
        guard !requests.isEmpty else { return false }
        let (batch, _) = committer.commit(requests, now: now)
        for loop in loops { loop.unpublished.append(batch) }
        return true
    }

    /// Other threads get round to handing something over: batches in their order, what was read in any.
    @discardableResult
    private func handOverOne() -> Bool {
        let waiting = loops.filter { !$0.unpublished.isEmpty || !$0.unread.isEmpty }
        guard let loop = waiting.randomElement(using: &random) else { return false }
        if loop.unread.isEmpty || (!loop.unpublished.isEmpty && Bool.random(using: &random)) {
            loop.inbox.append(.batch(loop.unpublished.removeFirst()))
        } else {
            loop.inbox.append(loop.unread.remove(at: Int.random(in: 0..<loop.unread.count, using: &random)))
        }
        return true
    }

    @discardableResult
    private func readOne() -> Bool {
        guard let loop = loops.filter({ !$0.jobs.isEmpty }).randomElement(using: &random) else { return false }
        let job = loop.jobs.remove(at: Int.random(in: 0..<loop.jobs.count, using: &random))
        switch job {
        case .page(let request):
            let limit = Int.random(in: 1...3, using: &random)
            loop.unread.append(.page(store.page(request, limit: limit, framing: Self.framing)))
        case .lookups(let request): loop.unread.append(.lookups(store.look(up: request, framing: Self.framing)))
        }
        return true
    }

    @discardableResult
    private func deliverOne() -> Bool {
        guard let loop = loops.filter({ !$0.inbox.isEmpty }).randomElement(using: &random) else { return false }
        switch loop.inbox.removeFirst() {
        case .batch(let batch): loop.shard.receive(batch, head: committer.head, now: now)
        case .page(let page): loop.shard.read(page, head: committer.head, now: now)
        case .lookups(let result): loop.shard.looked(up: result, head: committer.head, now: now)
        }
        flush(loop)
        return true
    }

    private func flush(_ loop: Loop) {
        loop.shard.flush(into: loop)
        let sent = loop.sent
        loop.sent = []
        for (slot, frames) in sent {
            guard
                let client = clients.first(where: { client in
                    client.connection?.slot == slot && loops[client.loop] === loop
                })
            else {
                note("frames for slot \(slot), where nobody is")
                continue
            }
            for line in String(buffer: frames).split(separator: "\n") { client.receive(String(line), world: self) }
        }
    }
}
