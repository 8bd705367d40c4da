import Access
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

/// Registers from another database, merged as they are.
struct ReplicationTests {
    private let store = SimulatedDisk()
    private var committer: Committer<SimulatedDisk, NoRules>
    private let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))

    init() throws {
        committer = Committer(
            store: store, state: try store.state(), loops: 1, maximumDrift: 60_000, cacheSize: 1 << 16,
            rules: NoRules(),
            framing: Simulation.framing)
    }

    private func register(_ key: String, _ version: String, _ value: String?) throws -> Register {
        Register(key: try Key(key), version: try Version(version), value: value.map { Array($0.utf8) })
    }

    private mutating func replicate(_ registers: [Register], now: WallTime = 1_000) throws -> WriteOutcome {
        let request = WriteRequest(
            action: .replicate(registers, id: RequestID(json: [0x31])), agent: try Agent("link"), origin: origin)
        let results = committer.commit([request], now: now).0.results[0]
        return try #require(results.first).outcome
    }

    @Test(
        "Registers keep their versions, however far ahead; each is merged by itself, and one answer says what became of all"
    )
    mutating func merges() throws {
        let far = "ffff00000000-0000-b"
        var expected = ReplicationReceipt()
        expected.applied = 3
        #expect(
            try replicate([
                register("a", far, "1"), register("b", "000000000010-0000-b", "2"), register("gone", far, nil),
            ]) == .replicated(expected))
        #expect(store.committed[try Key("a")]?.register.version == (try Version(far)))
        #expect(committer.head == 3)

        expected = ReplicationReceipt()
        expected.applied = 1
        expected.same = 2
        expected.superseded = 1
        #expect(
            try replicate([
                register("a", far, "1"), register("b", "00000000000f-0000-b", "3"), register("c", far, "4"),
                register("c", far, "4"),
            ]) == .replicated(expected))
        #expect(committer.head == 4)
        // The server's own stamps are above whatever it has taken.
        #expect(committer.lastStamp >= (try Version(far)).stamp)
    }

    @Test("What is under a claim is refused by its key, and keeps back none of the others")
    mutating func refusals() throws {
        let claim = ClientMessage.Lease(.claim, key: try Key("lock"), timeToLive: 60_000)
        let request = WriteRequest(action: .lease(claim), agent: try Agent("a"), origin: origin)
        _ = committer.commit([request], now: 1_000)
        let outcome = try replicate([
            register("lock", "ffff00000000-0000-b", "1"), register("x", "000000000010-0000-b", "2"),
        ])
        guard case .replicated(let receipt) = outcome else { return #expect(Bool(false), "\(outcome)") }
        #expect(receipt.applied == 1)
        #expect(receipt.refused.map(\.key) == [try Key("lock")])
        #expect(receipt.refused.map(\.error.code) == [.held])
    }

    @Test("A disk that fails answers for all of them: nothing was merged")
    mutating func fails() throws {
        store.fault = .begin
        guard case .refused(let error) = try replicate([register("a", "000000000010-0000-b", "1")]) else {
            return #expect(Bool(false))
        }
        #expect(error.code == .storageFailed)
        #expect(store.committed.isEmpty)
    }
}
