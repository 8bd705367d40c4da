import Access
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

/// Single steps of an event loop's state machine, where the order of things matters.
final class ShardTests {
    private final class Output: ShardOutput {
        var messages: [JSONObject] = []
        var writes: [WriteRequest] = []
        var jobs: [ReadJob] = []
        var closed: [Int32] = []

        func send(_ frames: ByteBuffer, to slot: Int32) {
            for line in String(buffer: frames).split(separator: "\n") {
                if let message = try? JSONObject(Array(line.utf8)) { messages.append(message) }
            }
        }
        /// What a slow socket could still drop.
        var deliveries: [Delivery] = []
        func deliver(_ delivery: Delivery) {
            deliveries.append(delivery)
            for slot in delivery.slots where !delivery.except.contains(slot) { send(delivery.frames, to: slot) }
        }
        func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {}
        func close(_ slot: Int32) { closed.append(slot) }
        func submit(_ requests: [WriteRequest]) { writes += requests }
        func submit(_ job: ReadJob) { jobs.append(job) }
        func submit(_ request: ServiceRequest) {}
    }

    private let output = Output()
    private let store = SimulatedDisk()
    private var committer: Committer<SimulatedDisk, NoRules>
    private var shard: Shard
    private let client: ConnectionID

    init() {
        let state = StoreState(epoch: store.epoch, head: 0, clockBound: .zero, collectedRevision: 0)
        committer = Committer(
            store: store, state: state, loops: 1, maximumDrift: 60_000, cacheSize: 1 << 20, rules: NoRules(),
            framing: Simulation.framing)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 1 << 20, message: 1 << 21, subscriptions: 9, drift: 0),
            pingInterval: 0)
        shard = Shard(configuration: .init(loop: 0, welcome: welcome, framing: Simulation.framing), state: state)
        client = shard.connectionOpened(agent: Agent(random: 1), now: 0)
        shard.flush(into: output)
        output.messages = []
    }

    private func receive(_ text: String) throws {
        let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
        let message = try decoder.decode(Array(text.utf8).span)
        shard.messageReceived(.message(message), from: client, Turn(head: committer.head, now: 1_000))
        shard.flush(into: output)
    }

    private func commit() -> Committed {
        let requests = output.writes
        output.writes = []
        return committer.commit(requests, now: 1_000).0
    }

    private func deliver(_ commit: Committed) {
        shard.changesCommitted(commit, Turn(head: committer.head, now: 1_000))
        shard.flush(into: output)
    }

    private func reader(rows: Int = 100) -> PageReader<SimulatedDisk> {
        var limits = PageReader<SimulatedDisk>.Limits()
        limits.rows = rows
        return PageReader(store: store, framing: Simulation.framing, limits: limits)
    }

    /// Reads for all jobs as readers would, now.
    private func read() {
        while !output.jobs.isEmpty {
            switch output.jobs.removeFirst() {
            case .page(let request):
                shard.pageRead(reader().page(request, now: 0), Turn(head: committer.head, now: 0))
            case .lookups(let request):
                shard.lookupsRead(reader().look(up: request, now: 0), Turn(head: committer.head, now: 0))
            }
            shard.flush(into: output)
        }
    }

    private func seen() -> [String] {
        defer { output.messages = [] }
        return output.messages.map { "\($0.string("type") ?? "") \($0.string("id") ?? $0.string("key") ?? "")" }
    }

    @Test("A get waits for the writes before it, and a write behind it waits for the get")
    func order() throws {
        try receive(#"{"type":"broadcast","id":"w1","key":"k","value":1}"#)
        try receive(#"{"type":"get","id":"g","key":"k"}"#)
        try receive(#"{"type":"broadcast","id":"w2","key":"k","value":2}"#)
        #expect(output.writes.count == 1 && output.jobs.isEmpty)
        deliver(commit())
        #expect(output.writes.isEmpty && output.jobs.count == 1)
        read()
        #expect(output.writes.count == 1)
        deliver(commit())
        #expect(output.messages.first { $0.string("id") == "g" }?.integer("value") == 1)
        #expect(seen() == ["ack w1", "register g", "ack w2"])
    }

    @Test(
        "Registers are merged as they are for a grant that may, so many at a time, in the order of writes; and answered as one"
    )
    func replicates() throws {
        let registers = [Register(key: try Key("k"), version: try Version("ffff00000000-0000-b"), value: [0x31])]
        let asked = RequestID(json: Array("7".utf8))
        func replicate(_ registers: [Register], from id: ConnectionID) {
            shard.messageReceived(.replicate(registers, asked), from: id, Turn(head: committer.head, now: 1_000))
            shard.flush(into: output)
        }
        let grants = [
            Grant.unrestricted, Grant(.token("t"), read: .everything, write: .everything, mayMonitor: true),
        ]
        for grant in grants {
            let stranger = shard.connectionOpened(agent: Agent(random: 2), grant: grant, now: 0)
            replicate(registers, from: stranger)
            #expect(output.messages.last?.string("code") == "forbidden")
        }
        #expect(output.writes.isEmpty)
        let link = shard.connectionOpened(
            agent: Agent(random: 3), grant: Grant(.noRules, read: .everything, write: .everything, mayMerge: true),
            now: 0)
        replicate(Array(repeating: registers[0], count: 1_001), from: link)
        #expect(output.messages.last?.string("code") == "too_large")
        replicate(registers, from: link)
        #expect(output.writes.count == 1)
        deliver(commit())
        let answer = try #require(output.messages.last)
        #expect(answer.string("type") == "replicated" && answer.integer("id") == 7 && answer.integer("applied") == 1)
    }

    @Test("Writes that the committer does not take are refused as overloaded, and what waited goes on")
    func overloaded() throws {
        try receive(#"{"type":"broadcast","id":"w1","key":"k","value":1}"#)
        try receive(#"{"type":"broadcast","key":"k","value":1}"#)
        try receive(#"{"type":"ping","id":"p"}"#)
        shard.writesRejected(output.writes, Turn(head: 0, now: 0))
        shard.flush(into: output)
        let errors = output.messages.filter { $0.string("code") == ErrorCode.overloaded.rawValue }
        #expect(errors.count == 2 && errors.allSatisfy { $0.bool("retry") == true })
        #expect(output.messages.last?.string("type") == "pong")
        #expect(shard.snapshot.refusals[.overloaded] == 2)
    }

    @Test("An acknowledgement leaves before the fan-out of its commit, other answers behind it")
    func acknowledgedFirst() throws {
        try receive(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
        read()
        _ = seen()
        try receive(#"{"type":"broadcast","id":"w","key":"k","value":1}"#)
        try receive(#"{"type":"unsubscribe","id":"s"}"#)
        deliver(commit())
        #expect(seen() == ["ack w", "update k", "unsubscribed s"])
    }

    @Test("A batch that is sent again does not make its connection forget what it has claimed since")
    func repeatedRelease() throws {
        let lock = try Key("lock")
        func claim() throws -> Fence {
            try receive(#"{"type":"claim","id":"c","key":"lock","until":"disconnect"}"#)
            deliver(commit())
            return try #require(store.committed[lock]?.fence)
        }
        let batch = #"{"type":"batch","id":"b","op":"o","writes":[{"key":"lock","release":\#(try claim())}]}"#
        try receive(batch)
        deliver(commit())
        #expect(store.committed[lock]?.register.isTombstone == true && shard.ephemeralKeys.isEmpty)
        let second = try claim()
        try receive(batch)
        deliver(commit())
        #expect(shard.ephemeralKeys == [EphemeralKey(key: lock, fence: second)])
        shard.connectionClosed(client)
        shard.flush(into: output)
        deliver(commit())
        #expect(store.committed[lock]?.register.isTombstone == true)
    }

    @Test("A key that changes while a first snapshot is read is told once", arguments: [true, false])
    func handoff(isReadBefore: Bool) throws {
        for key in ["a", "b"] { try receive(#"{"type":"broadcast","id":"w","key":"\#(key)","value":1}"#) }
        deliver(commit())
        _ = seen()
        try receive(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
        if isReadBefore {
            guard case .page(let request)? = output.jobs.popLast() else { throw CancellationError() }
            shard.pageRead(reader(rows: 1).page(request, now: 0), Turn(head: committer.head, now: 0))
            shard.flush(into: output)
        }
        try receive(#"{"type":"broadcast","id":"w","key":"b","value":2}"#)
        try receive(#"{"type":"broadcast","id":"w","key":"a","value":2}"#)
        let changes = commit()
        read()
        deliver(changes)
        read()
        let told = output.messages.filter { $0.string("type") == "update" }.map {
            "\($0.string("key") ?? "") \($0.integer("value") ?? 0)"
        }
        // Where `a` was read before it changed, both its states are told.
        #expect(told == (isReadBefore ? ["a 1", "b 2", "a 2"] : ["a 2", "b 2"]))
    }

    @Test("What was read at a head that is not delivered here waits for it, pages and lookups alike")
    func held() throws {
        try receive(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
        read()
        _ = seen()
        let other = WriteRequest(
            write: ClientMessage.Write(key: try Key("k"), value: [0x31]), agent: Agent(random: 2),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 99, generation: 99)))
        let changes = committer.commit([other], now: 1_000).0
        try receive(#"{"type":"get","id":"g","key":"k"}"#)
        try receive(#"{"type":"subscribe","id":"t","pattern":"k"}"#)
        read()
        #expect(seen() == [])
        deliver(changes)
        read()
        #expect(seen() == ["update k", "register g", "subscribed t", "update k", "synced t"])
    }

    @Test("Whoever comes back ahead of this event loop is not taken back to where that is")
    func ahead() throws {
        let committed = try commit(of: "k")
        let since = String(decoding: Cursor(epoch: store.epoch, revision: 1).bytes, as: UTF8.self)
        try receive(#"{"type":"subscribe","id":"s","pattern":"*","since":"\#(since)"}"#)
        read()
        #expect(seen() == ["subscribed s"])
        deliver(committed)
        read()
        #expect(seen() == ["synced s"])
    }

    /// Commits a write of somebody else, which the event loop is not told of yet.
    private func commit(of key: String) throws -> Committed {
        let write = WriteRequest(
            write: ClientMessage.Write(key: try Key(key), value: [0x31]), agent: Agent(random: 2),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 99, generation: 99)))
        return committer.commit([write], now: 1_000).0
    }

    @Test("A subscription does not go live on a socket that is behind, by whatever way it would")
    func backedUp() throws {
        try receive(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
        shard.socketBackedUp(client)
        read()
        #expect(shard.snapshot.subscriptionsLive == 0)
        shard.socketDrained(client, Turn(head: committer.head, now: 0))
        shard.flush(into: output)
        read()
        #expect(shard.snapshot.subscriptionsLive == 1)
        #expect(seen() == ["subscribed s", "synced s"])
        shard.socketBackedUp(client)
        #expect(shard.snapshot.subscriptionsLive == 0 && shard.snapshot.demotions == 1)
    }

    @Test(
        "What is dropped for a slow socket is read again, cursor notices are dropped with it, and what was skipped is counted"
    )
    func dropped() throws {
        try receive(#"{"type":"subscribe","id":"s","pattern":"*","cursors":true,"conflated":true}"#)
        read()
        for value in 1...3 {
            try receive(#"{"type":"broadcast","key":"k","value":\#(value)}"#)
            deliver(commit())
        }
        shard.noticeCursors()
        shard.flush(into: output)
        #expect(output.deliveries.count == 4)
        // The first update is on the wire; the rest, and the notice of having got it all, is not.
        shard.socketBackedUp(client, dropped: Array(output.deliveries.dropFirst()))
        output.messages = []
        shard.socketDrained(client, Turn(head: committer.head, now: 0))
        shard.flush(into: output)
        read()
        #expect(output.messages.first { $0.string("type") == "conflated" }?.integer("skipped") == 1)
        #expect(seen().filter { !$0.hasPrefix("cursor") } == ["update k", "conflated s"])
        #expect(shard.snapshot.updatesConflated == 1)
    }

    @Test("Lookups are answered as far as they fit, and the rest when the socket has drained")
    func partial() throws {
        for id in 1...3 { try receive(#"{"type":"get","id":"g\#(id)","key":"k"}"#) }
        read()
        #expect(seen() == ["register g1", "register g2", "register g3"])
        try receive(#"{"type":"broadcast","key":"k","value":1}"#)
        for id in 4...6 { try receive(#"{"type":"get","id":"g\#(id)","key":"k"}"#) }
        deliver(commit())
        guard case .lookups(let request) = output.jobs.removeFirst() else {
            Issue.record("no lookups")
            return
        }
        shard.socketBackedUp(client)
        let one = reader().look(up: LookupRequest(connection: client, lookups: [request.lookups[0]]), now: 0)
        shard.lookupsRead(one, Turn(head: 1, now: 0))
        shard.flush(into: output)
        #expect(output.jobs.isEmpty)
        shard.socketDrained(client, Turn(head: 1, now: 0))
        shard.flush(into: output)
        read()
        #expect(seen() == ["register g4", "register g5", "register g6"])
    }

    @Test("Many refusals of small writes do not each show a great value")
    func omittedValues() throws {
        let great = "\"" + String(repeating: "x", count: 1 << 19) + "\""
        try receive(#"{"type":"broadcast","key":"k","value":\#(great)}"#)
        deliver(commit())
        for id in 0..<20 { try receive(#"{"type":"broadcast","id":"\#(id)","key":"k","value":0,"timestamp":1}"#) }
        deliver(commit())
        let winners = output.messages.compactMap { $0.object("winner") }
        #expect(winners.count == 20)
        #expect(winners.prefix(4).allSatisfy { $0.raw("value") != nil })
        #expect(winners.suffix(10).allSatisfy { $0.bool("value_omitted") == true && $0.raw("value") == nil })
    }

    @Test("Who is a little behind is sent the latest of each key from memory, in order, and nothing is read")
    func fromMemory() throws {
        try receive(#"{"type":"subscribe","id":"a","pattern":"k:*","snapshot":false}"#)
        let cursor = try #require(output.messages.last?.string("cursor"))
        try receive(#"{"type":"unsubscribe","id":"a"}"#)
        for (key, value) in [("k:1", 1), ("k:2", 2), ("other", 3), ("k:1", 4)] {
            try receive(#"{"type":"broadcast","key":"\#(key)","value":\#(value)}"#)
            deliver(commit())
        }
        try receive(#"{"type":"broadcast","key":"k:3","value":5,"transient":true}"#)
        deliver(commit())
        _ = seen()
        try receive(#"{"type":"subscribe","id":"b","pattern":"k:*","since":"\#(cursor)"}"#)
        #expect(output.jobs.isEmpty)
        let values = output.messages.filter { $0.string("type") == "update" }.map { $0.integer("value") }
        #expect(values == [2, 4])
        #expect(output.messages.last?.integer("count") == 2)
        #expect(seen() == ["subscribed b", "update k:2", "update k:1", "synced b"])
        // It is live now.
        try receive(#"{"type":"broadcast","key":"k:9","value":6}"#)
        deliver(commit())
        #expect(seen() == ["update k:9"])
    }

    @Test("Who is further behind than memory reaches is sent what the database has")
    func beyondMemory() throws {
        try receive(#"{"type":"subscribe","id":"a","pattern":"k","snapshot":false}"#)
        let cursor = try #require(output.messages.last?.string("cursor"))
        try receive(#"{"type":"unsubscribe","id":"a"}"#)
        let value = String(repeating: "x", count: 1 << 20 - 2)
        for index in 0..<6 {
            try receive(#"{"type":"broadcast","key":"\#(index == 0 ? "k" : "l")","value":"\#(value)"}"#)
            deliver(commit())
        }
        _ = seen()
        try receive(#"{"type":"subscribe","id":"b","pattern":"k","since":"\#(cursor)"}"#)
        #expect(output.jobs.count == 1)
        read()
        #expect(seen() == ["subscribed b", "update k", "synced b"])
    }

    @Test("A cursor older than what was collected is refused")
    func collected() throws {
        let state = StoreState(epoch: store.epoch, head: 9, clockBound: .zero, collectedRevision: 5)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 1, message: 1, subscriptions: 9, drift: 0), pingInterval: 0)
        var shard = Shard(configuration: .init(loop: 0, welcome: welcome, framing: Simulation.framing), state: state)
        let id = shard.connectionOpened(agent: Agent(random: 1), now: 0)
        for (revision, isRefused) in [(4, true), (5, false), (9, false), (10, true)] as [(Revision, Bool)] {
            let request = ClientMessage.Subscribe(
                id: RequestID(json: Array("\(revision)".utf8)), pattern: .everything,
                since: Cursor(epoch: store.epoch, revision: revision))
            shard.messageReceived(.message(.subscribe(request)), from: id, Turn(head: 9, now: 0))
            output.messages = []
            shard.flush(into: output)
            let isError = output.messages.contains { $0.string("code") == ErrorCode.resyncRequired.rawValue }
            #expect(isError == isRefused, "\(revision)")
        }
    }

    @Test("A Close waits for what is owed, snapshots too, and nothing comes behind it")
    func close() throws {
        try receive(#"{"type":"broadcast","id":"w","key":"k","value":1}"#)
        try receive(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
        shard.messageReceived(.close, from: client, Turn(head: 0, now: 0))
        try receive(#"{"type":"ping","id":"late"}"#)
        #expect(output.closed.isEmpty)
        deliver(commit())
        #expect(output.closed.isEmpty)
        read()
        #expect(output.closed == [client.slot])
        #expect(seen() == ["ack w", "subscribed s", "update k", "synced s"])
    }
}
