import Access
import Benchmark
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol

/// Merges and commits without a disk, and the fan-out of what was committed without sockets.
func commits() {
    for size in [1, 16, 256] {
        Benchmark("commit: \(size) writes", configuration: .init(scalingFactor: .one)) { benchmark in
            var committer = Committer(
                store: SimulatedDisk(), state: state, loops: 1, maximumDrift: 60_000, cacheSize: 64 << 20,
                rules: NoRules(),
                framing: Simulation.framing)
            let requests = (0..<size).map(request)
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations { blackHole(committer.commit(requests, now: 1_000)) }
            benchmark.stopMeasurement()
        }
    }

    for groups in [1, 10, 100, 1_000] {
        Benchmark(
            "fan-out: 32 updates to 1,000 subscribers in \(groups) groups", configuration: .init(scalingFactor: .one)
        ) {
            benchmark in
            var shard = Shard(
                configuration: .init(loop: 0, welcome: welcome, framing: Simulation.framing), state: state)
            let output = Nowhere()
            for subscriber in 0..<1_000 {
                let id = shard.connectionOpened(agent: Agent(random: UInt64(subscriber)), now: 0)
                let text =
                    #"{"type":"subscribe","id":"s","pattern":"agent:*","snapshot":false}"#
                subscribe(id, text, &shard)
                if groups > 1 {
                    subscribe(
                        id,
                        #"{"type":"subscribe","id":"t","pattern":"group:\#(subscriber % groups)","snapshot":false}"#,
                        &shard)
                }
            }
            shard.flush(into: output)
            var committer = Committer(
                store: SimulatedDisk(), state: state, loops: 1, maximumDrift: 60_000, cacheSize: 64 << 20,
                rules: NoRules(),
                framing: Simulation.framing)
            let batch = committer.commit((0..<32).map(request), now: 1_000).0
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                shard.changesCommitted(batch, Turn(head: batch.head, now: 0))
                shard.flush(into: output)
            }
            benchmark.stopMeasurement()
            blackHole(output.bytes)
        }
    }
}

private let state = StoreState(
    epoch: SimulatedDisk().epoch, head: 0, clockBound: .zero, collectedRevision: 0)

private let welcome = Welcome(
    server: "", node: "", limits: .init(value: 1 << 20, message: 1 << 21, subscriptions: 9, drift: 0), pingInterval: 0)

private func request(_ number: Int) -> WriteRequest {
    let value = Array("{\"state\":\"\(String(repeating: "x", count: 100))\"}".utf8)
    let write = ClientMessage.Write(key: Key(unchecked: Array("agent:\(number)".utf8)), value: value)
    return WriteRequest(
        write: write, agent: Agent(random: 1),
        origin: Origin(loop: 0, connection: ConnectionID(slot: 5_000, generation: 1)))
}

private func subscribe(_ id: ConnectionID, _ text: String, _ shard: inout Shard) {
    let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)
    guard let message = try? decoder.decode(Array(text.utf8).span) else { return }
    shard.messageReceived(.message(message), from: id, Turn(head: 0, now: 0))
}

/// Counts what would be sent.
private final class Nowhere: ShardOutput {
    private(set) var bytes = 0
    func send(_ frames: ByteBuffer, to slot: Int32) { bytes += frames.readableBytes }
    func deliver(_ delivery: Delivery) { bytes += delivery.frames.readableBytes * delivery.slots.count }
    func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {}
    func close(_ slot: Int32) {}
    func submit(_ requests: [WriteRequest]) {}
    func submit(_ job: ReadJob) {}
}
