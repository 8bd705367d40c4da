import Access
import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

struct BatchTests {
    private typealias Member = ClientMessage.Batch.Member
    private typealias Requirement = ClientMessage.Batch.Requirement

    private let store = SimulatedDisk()
    private var committer: Committer<SimulatedDisk, NoRules>

    init() throws {
        committer = Committer(
            store: store, state: try store.state(), loops: 1, maximumDrift: 60_000, cacheSize: 1 << 16, rules: NoRules()
        ) { buffer, body in
            body(&buffer)
        }
    }

    private static func write(_ key: String, _ value: String?, _ condition: ClientMessage.Write.Condition = .none)
        throws
        -> Member
    {
        .write(ClientMessage.Write(key: try Key(key), value: value.map { Array($0.utf8) }, condition: condition))
    }

    private func request(
        _ members: [Member], require: [Requirement] = [], op: String? = nil, bearer: String = "", grant: Grant? = nil,
        slot: Int32 = 0
    ) throws -> WriteRequest {
        let message = ClientMessage.Batch(
            id: RequestID(json: [0x31]), op: op.map { Array($0.utf8) }, requirements: require, members: members)
        return WriteRequest(
            action: .batch(.init(message, bearer: Array(bearer.utf8))), agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: slot, generation: 1)), grant: grant)
    }

    private mutating func outcomes(_ requests: [WriteRequest], now: WallTime = 1_000) -> [WriteOutcome] {
        committer.commit(requests, now: now).0.results[0].map(\.outcome)
    }

    private func receipt(_ outcome: WriteOutcome?) throws -> BatchReceipt {
        guard case .batched(let receipt)? = outcome else { throw Unexpected(outcome: outcome) }
        return receipt
    }

    private func failures(_ outcome: WriteOutcome?) throws -> [BatchFailure] {
        guard case .batchRefused(let failures)? = outcome else { throw Unexpected(outcome: outcome) }
        return failures
    }

    private struct Unexpected: Error {
        var outcome: WriteOutcome?
    }

    private func value(_ key: String) throws -> String? {
        store.committed[try Key(key)]?.register.value.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("Revisions are contiguous and versions consecutive, in the order of the writes, also between other requests")
    mutating func order() throws {
        let first = try request([Self.write("b", "1"), Self.write("a", "2"), Self.write("c", nil)])
        let second = try request([Self.write("a", "3"), Self.write("d", "4")])
        let (batch, failure) = committer.commit([first, second], now: 1_000)
        #expect(failure == nil && batch.changes.map(\.revision) == [1, 2, 3, 4, 5])
        #expect(batch.changes.map(\.key.description) == ["b", "a", "c", "a", "d"])
        let receipts = try batch.results[0].map { try receipt($0.outcome) }
        #expect(receipts.map(\.firstRevision) == [1, 4] && receipts.map(\.lastRevision) == [3, 5])
        for receipt in receipts {
            #expect(receipt.versions.count == receipt.count && receipt.versions == receipt.versions.sorted())
        }
        let stored = try #require(store.committed[try Key("d")])
        #expect(stored.register.version == receipts[1].versions[1])
        #expect(try value("a") == "3")
    }

    @Test("The stamps of its members are below the clock's bound on the disk, however many they are")
    mutating func bound() throws {
        let many = try request(try (0..<256).map { try Self.write("k\($0)", "1") })
        _ = outcomes([many])
        // The clock is brought just below the bound.
        let last = Stamp(rawValue: store.bound.rawValue - 10)
        let brought = ClientMessage.Write(
            key: try Key("a"), value: [0x31], stamping: .version(Version(stamp: last, agent: try Agent("a"))))
        let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))
        _ = outcomes([WriteRequest(write: brought, agent: try Agent("a"), origin: origin)])
        #expect(committer.lastStamp == last && store.bound.rawValue == last.rawValue + 10)
        _ = outcomes([many])
        #expect(committer.lastStamp.rawValue == last.rawValue + 256 && store.bound >= committer.lastStamp)
    }

    @Test("Conditions are judged over the state before the batch: a member does not see another")
    mutating func judgedBefore() throws {
        // Each of the two expects what the other one changes.
        let version = try receipt(outcomes([request([Self.write("a", "1")])]).first).firstVersion
        let both = try request(
            [Self.write("a", "2", .version(version)), Self.write("b", "2", .absent)],
            require: [
                Requirement(key: try Key("a"), state: .version(version)),
                Requirement(key: try Key("b"), state: .absent),
            ])
        #expect(try receipt(outcomes([both]).first).firstRevision == 2)
        #expect(try failures(outcomes([both]).first).count == 4)
    }

    @Test("If one member fails, nothing is written, and no stamp is used up")
    mutating func allOrNothing() throws {
        _ = try outcomes([request([Self.write("a", "1")])])
        let before = committer.lastStamp
        for failing in [0, 1, 2] {
            var members = try [Self.write("x", "1"), Self.write("y", "1"), Self.write("z", "1")]
            members[failing] = try Self.write("a", "2", .absent)
            let found = try failures(outcomes([request(members)]).first)
            #expect(found.map(\.place) == [.write(failing)] && found[0].current?.revision == 1)
        }
        #expect(committer.lastStamp == before && committer.head == 1 && store.committed.count == 1)
    }

    @Test("What is under a claim is held, and a claim is given up by its fence while it is in force")
    mutating func claims() throws {
        let lock = try Key("lock")
        let claim = WriteRequest(
            action: .lease(ClientMessage.Lease(.claim, key: lock, timeToLive: 5_000)), agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1)))
        guard case .claimed(let grant) = outcomes([claim])[0] else {
            Issue.record("not claimed")
            return
        }
        let over = try failures(outcomes([request([Self.write("a", "1"), Self.write("lock", "1")])]).first)
        #expect(over.map(\.reason) == [.held] && over.map(\.place) == [.write(1)])
        func release(_ fence: Fence) -> Member { .release(ClientMessage.Lease(.release, key: lock, fence: fence)) }
        #expect(try failures(outcomes([request([release(grant.fence.next)])]).first).map(\.reason) == [.staleFence])
        let fenced = Requirement(key: lock, state: .fence(grant.fence))
        let done = try request([Self.write("a", "done"), release(grant.fence)], require: [fenced])
        #expect(
            try receipt(outcomes([done]).first).released == [ClientMessage.FencedKey(key: lock, fence: grant.fence)])
        #expect(store.committed[lock]?.register.isTombstone == true && store.committed[lock]?.binding == nil)
        #expect(store.committed[lock]?.fence == grant.fence)
        #expect(try failures(outcomes([done]).first).map(\.reason) == [.staleFence, .staleFence])
        // One whose time is over is not in force either, though nobody has claimed it since.
        guard case .claimed(let next) = outcomes([claim], now: 2_000)[0] else {
            Issue.record("not claimed")
            return
        }
        let late = try request([release(next.fence)])
        #expect(try failures(outcomes([late], now: 7_000).first).map(\.reason) == [.staleFence])
    }

    @Test("A claim that is given up in a batch is no longer its connection's")
    mutating func owners() throws {
        let lock = try Key("lock")
        let claim = WriteRequest(
            action: .lease(ClientMessage.Lease(.claim, key: lock, endsWithConnection: true)), agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 3, generation: 1)))
        guard case .claimed(let grant) = outcomes([claim])[0] else {
            Issue.record("not claimed")
            return
        }
        let release = Member.release(ClientMessage.Lease(.release, key: lock, fence: grant.fence))
        _ = try outcomes([request([release])])
        let end = WriteRequest(
            action: .end(EphemeralKey(key: lock, fence: grant.fence)), agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 3, generation: 1)))
        #expect(outcomes([end]) == [.claimRefused(.staleFence, holder: nil, expiresAt: nil)])
        #expect(committer.head == 2)
    }

    @Test("The same op of the same bearer is answered as the first time, though everything was written over")
    mutating func op() throws {
        let first = try request([Self.write("a", "1"), Self.write("b", "1")], op: "o", bearer: "x")
        let receipts = try outcomes([first, first]).map { try receipt($0) }
        #expect(receipts[0] == receipts[1] && committer.head == 2)
        _ = try outcomes([request([Self.write("a", "2"), Self.write("b", nil)])])
        #expect(try receipt(outcomes([first]).first) == receipts[0])
        // Another server on the same disk.
        var next = self
        next.committer = Committer(
            store: store, state: try store.state(), loops: 1, maximumDrift: 60_000, cacheSize: 1 << 16, rules: NoRules()
        ) { buffer, body in
            body(&buffer)
        }
        #expect(try next.receipt(next.outcomes([first], now: 2_000).first) == receipts[0])
        #expect(try value("a") == "2" && value("b") == nil)
        let foreign = try request([Self.write("a", "3")], op: "o", bearer: "y")
        #expect(try next.receipt(next.outcomes([foreign]).first).firstRevision == 5)
        let old: WallTime = 1_000 + KeptAnswer.lifetime
        #expect(try next.receipt(next.outcomes([first], now: old).first) == receipts[0])
        #expect(try next.receipt(next.outcomes([first], now: old + 1).first).firstRevision == 6)
    }

    @Test("The same op with another batch is refused, and not answered as if that had been made")
    mutating func otherBatch() throws {
        func batch(_ value: String) throws -> WriteRequest {
            var message = ClientMessage.Batch(op: [0x6F], members: [try Self.write("a", value)])
            message.fingerprint = message.hash
            return WriteRequest(
                action: .batch(.init(message, bearer: [])), agent: try Agent("a"),
                origin: Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1)))
        }
        let outcomes = outcomes([try batch("1"), try batch("2"), try batch("1")])
        guard case .refused(let error) = outcomes[1] else { throw Unexpected(outcome: outcomes[1]) }
        #expect(error.code == .badMessage)
        #expect(try receipt(outcomes[0]) == receipt(outcomes[2]))
        #expect(try value("a") == "1" && committer.head == 1)
    }

    @Test("Hundreds of great values in place are not held, and few are shown")
    mutating func greatValues() throws {
        let value = "\"" + String(repeating: "v", count: 1 << 20) + "\""
        for index in 0..<40 { _ = try outcomes([request([Self.write("k\(index)", value)])]) }
        let members = try (0..<40).map { try Self.write("k\($0)", "1", .absent) }
        let requirements = try (0..<40).map { Requirement(key: try Key("k\($0)"), state: .absent) }
        let request = try request(members, require: requirements)
        let (batch, _) = committer.commit([request, request], now: 1_000)
        let shown = try batch.results[0].map { try failures($0.outcome) }
        #expect(shown.map(\.count) == [16, 16])
        let bytes = shown.joined().reduce(0) { $0 + ($1.current?.register.value?.count ?? 0) }
        #expect(bytes < 4 << 20 && shown.joined().allSatisfy { $0.current?.revision ?? 0 > 0 })
        #expect(request.rows == 80)
    }

    @Test("A batch that was not applied is judged anew: nothing of it is remembered")
    mutating func opOfRefused() throws {
        let made = try receipt(outcomes([request([Self.write("a", "1")])]).first)
        let absent = try request([Self.write("a", "2", .absent)], op: "o")
        #expect(try failures(outcomes([absent]).first).map(\.current?.register.version) == [made.firstVersion])
        _ = try outcomes([request([Self.write("a", nil)])])
        #expect(try receipt(outcomes([absent]).first).firstRevision == 3)
    }

    @Test(
        "An answer is kept if and only if its batch is", arguments: [SimulatedDisk.Fault.commitLost, .commitKept, .put])
    mutating func failures(fault: SimulatedDisk.Fault) throws {
        let batch = try request([Self.write("a", "1"), Self.write("b", "1")], op: "o")
        store.fault = fault
        guard case .refused(let error) = outcomes([batch])[0] else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == (fault == .put ? .storageFailed : .outcomeUnknown))
        store.fault = .none
        #expect(try receipt(outcomes([batch]).first).firstRevision == 1)
        #expect(committer.head == 2 && store.committed.count == 2)
    }

    @Test("Its own new keys count against the limit, and what it deletes makes room")
    mutating func quota() throws {
        let grant = Grant(.token("t"), read: .everything, write: .everything, maximumKeys: 3)
        let four = try (0..<4).map { try Self.write("k\($0)", "1") }
        let found = try failures(outcomes([request(four, grant: grant)]).first)
        #expect(found.map(\.reason) == [.tooManyKeys] && found.map(\.place) == [.write(3)])
        _ = try receipt(outcomes([request(Array(four[..<3]), grant: grant)]).first)
        let more = try request([Self.write("k3", "1"), Self.write("k0", "2")], grant: grant)
        #expect(try failures(outcomes([more]).first).map(\.place) == [.write(0)])
        let swapped = try request([Self.write("k3", "1"), Self.write("k0", nil)], grant: grant)
        _ = try receipt(outcomes([swapped, request([Self.write("k1", "2")], grant: grant)]).first)
        #expect(store.committed.values.count { !$0.register.isTombstone } == 3)
    }
}
