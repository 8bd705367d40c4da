import Access
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

/// What waits for its turn: connections that want a page, and credentials behind what was sent before them.
struct ShardQueueTests {
    @Test("Credentials that were revoked while they waited for their turn give nothing")
    func revoked() throws {
        let output = Output()
        let state = StoreState(epoch: Epoch(7), head: 0, clockBound: .zero, collectedRevision: 0)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 1, message: 1, subscriptions: 9, drift: 0), pingInterval: 0)
        var configuration = Shard.Configuration(loop: 0, welcome: welcome, framing: Simulation.framing)
        configuration.problem = { $0.source == .token("gone") ? .changed : nil }
        var shard = Shard(configuration: configuration, state: state)
        let turn = Turn(head: 0, now: 0)
        let nothing = Grant(.anonymous(isAllowed: false), read: .nothing, write: .nothing)
        guard
            case .hello(let hello) = try ClientMessageDecoder(maximumValueSize: 1).decode(
                Array(#"{"type":"hello","token":"x"}"#.utf8).span)
        else { return #expect(Bool(false), "it is a hello") }
        for (name, isStranger) in [("gone", true), ("good", false)] {
            let id = shard.connectionOpened(agent: Agent(random: 1), grant: nothing, now: 0)
            let grant = Grant(.token(name), read: .everything, write: .everything)
            shard.messageReceived(.credentials(hello, .success(grant)), from: id, turn)
            #expect(shard.isStranger(id) == isStranger, "\(name)")
        }
        shard.flush(into: output)
    }

    private final class Output: ShardOutput {
        var jobs: [ReadJob] = []
        var closed: [Int32] = []

        func send(_ frames: ByteBuffer, to slot: Int32) {}
        func deliver(_ delivery: Delivery) {}
        func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {}
        func close(_ slot: Int32) { closed.append(slot) }
        func submit(_ writes: [WriteRequest]) {}
        func submit(_ job: ReadJob) { jobs.append(job) }
        func submit(_ request: ServiceRequest) {}
    }

    @Test("The end of a connection that waits for a page comes when it has caught up without one")
    func caughtUpInTheQueue() throws {
        let epoch = Epoch(7)
        let output = Output()
        let state = StoreState(epoch: epoch, head: 0, clockBound: .zero, collectedRevision: 0)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 1, message: 1, subscriptions: 9, drift: 0), pingInterval: 0)
        var configuration = Shard.Configuration(loop: 0, welcome: welcome, framing: Simulation.framing)
        configuration.maximumPages = 1
        var shard = Shard(configuration: configuration, state: state)
        let turn = Turn(head: 0, now: 0)
        let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
        func send(_ text: String, from id: ConnectionID, _ shard: inout Shard) throws {
            let message = try decoder.decode(Array(text.utf8).span)
            shard.messageReceived(.message(message), from: id, turn)
        }
        let reading = shard.connectionOpened(agent: Agent(random: 1), now: 0)
        try send(#"{"type":"subscribe","id":"s","pattern":"*"}"#, from: reading, &shard)
        let waiting = shard.connectionOpened(agent: Agent(random: 2), now: 0)
        try send(#"{"type":"subscribe","id":"s0","pattern":"*"}"#, from: waiting, &shard)
        let since = "\(String(decoding: Cursor(epoch: epoch, revision: 0).bytes, as: UTF8.self))"
        try send(#"{"type":"subscribe","id":"s1","pattern":"*","since":"\#(since)"}"#, from: waiting, &shard)
        try send(#"{"type":"unsubscribe","id":"s0"}"#, from: waiting, &shard)
        shard.messageReceived(.close, from: waiting, turn)
        shard.flush(into: output)
        #expect(output.closed == [])
        guard case .page(let request)? = output.jobs.popLast() else { return #expect(Bool(false), "nothing is read") }
        shard.pageRead(PageResult(request: request, head: 0, rows: [], frames: ByteBuffer(), next: nil), turn)
        shard.flush(into: output)
        #expect(output.closed == [waiting.slot])
    }
}
