import Registers
import SyncProtocol
import Testing

@testable import SyncEngine

struct EphemeralKeysTests {
    private var keys = EphemeralKeys()
    private let here = ConnectionID(slot: 0, generation: 1)
    private let lease = WallTime.zero + WriteJudge.connectionLease

    private func result(
        _ action: WriteRequest.Action, _ outcome: WriteOutcome, _ ephemeral: CommittedChanges.Ephemeral? = nil
    ) -> CommittedChanges.Result {
        let request = WriteRequest(
            action: action, agent: Agent(random: 0), origin: Origin(loop: 0, connection: here))
        return CommittedChanges.Result(request, outcome: outcome, ephemeral: ephemeral)
    }

    /// What a claim until disconnect is answered.
    private func claimed(
        _ key: String, fence: Fence = 1, until expiresAt: WallTime, _ upkeep: CommittedChanges.Upkeep = .server
    ) throws -> CommittedChanges.Result {
        var claim = ClientMessage.Lease(.claim, key: try Key(key))
        claim.endsWithConnection = true
        let grant = WriteOutcome.Grant(
            fence: fence, expiresAt: expiresAt, version: try Version("000000000001-0000-a"), revision: 1)
        return result(
            .lease(claim), .claimed(grant),
            .init(key: EphemeralKey(key: try Key(key), fence: fence), expiresAt: expiresAt, upkeep: upkeep))
    }

    private func text(_ requests: [EphemeralKeys.Request]) -> [String] {
        requests.map { request in
            switch request.action {
            case .keep(let key): "keep \(key.key)"
            case .end(let key): "end \(key.key)"
            default: "\(request.action)"
            }
        }
    }

    private mutating func hold(_ results: CommittedChanges.Result...) {
        for result in results {
            keys.requested(by: here)
            #expect(keys.answered(result, isConnected: true) == nil)
        }
    }

    @Test(
        "What is nearly over is kept up, once until there is an answer or patience ends; what the client renews is not")
    mutating func upkeep() throws {
        hold(try claimed("a", until: lease), try claimed("b", until: lease, .client))
        #expect(keys.count == 2 && keys.count(of: here) == 2)
        #expect(text(keys.keepUp(now: 0)) == [])
        let due = WallTime.zero + (WriteJudge.connectionLease * 2 / 5 + 1)
        #expect(text(keys.keepUp(now: due)) == ["keep a"])
        #expect(text(keys.keepUp(now: due + 1_000)) == [])
        #expect(text(keys.keepUp(now: due + 5_000)) == ["keep a"])
        // Kept: whoever saw to it before goes on with it.
        let kept = try claimed("a", until: due + WriteJudge.connectionLease, .asBefore)
        _ = keys.answered(
            result(.keep(EphemeralKey(key: try Key("a"), fence: 1)), kept.outcome, kept.ephemeral), isConnected: true)
        #expect(text(keys.keepUp(now: due + 6_000)) == [])
        // The client's ends when the client does not renew it.
        _ = keys.keepUp(now: lease + 1)
        #expect(keys.count == 1)
    }

    @Test("The end of a connection ends what it has, and asks again until that is so")
    mutating func ends() throws {
        hold(try claimed("b", until: lease), try claimed("a", until: lease))
        #expect(text(keys.disconnected(here)) == ["end a", "end b"])
        #expect(keys.count == 0 && keys.keys.count == 2 && !keys.areAny(of: here))
        #expect(text(keys.disconnected(here)) == [])
        let end = WriteRequest.Action.end(EphemeralKey(key: try Key("a"), fence: 1))
        let failure = WriteOutcome.refused(WireError(.storageFailed, "x"))
        _ = keys.answered(result(end, failure), isConnected: false)
        _ = keys.answered(
            result(
                .end(EphemeralKey(key: try Key("b"), fence: 1)), .claimRefused(.staleFence, holder: nil, expiresAt: nil)
            ),
            isConnected: false)
        #expect(text(keys.keepUp(now: 1)) == [])
        #expect(text(keys.keepUp(now: 5_001)) == ["end a"])
    }

    @Test(
        "A key that went from one connection to another is ended for both, whoever is refused, and asked for again for whom it counts"
    )
    mutating func moved() throws {
        let there = ConnectionID(slot: 1, generation: 2)
        func result(_ id: ConnectionID, _ outcome: WriteOutcome) throws -> CommittedChanges.Result {
            let request = WriteRequest(
                action: .end(EphemeralKey(key: try Key("a"), fence: 1)), agent: Agent(random: 0),
                origin: Origin(loop: 0, connection: id))
            return CommittedChanges.Result(request, outcome: outcome)
        }
        hold(try claimed("a", until: lease))
        let claim = try claimed("a", until: lease)
        keys.requested(by: there)
        _ = keys.answered(moved(claim, to: there), isConnected: true)
        #expect(text(keys.disconnected(there)) == ["end a"])
        #expect(text(keys.disconnected(here)) == ["end a"])
        // The disk refuses the end that counts; the other one finds that it is none of its own.
        _ = keys.answered(try result(there, .refused(WireError(.storageFailed, "x"))), isConnected: false)
        _ = keys.answered(try result(here, .claimRefused(.staleFence, holder: nil, expiresAt: nil)), isConnected: false)
        _ = keys.keepUp(now: 1)
        let again = keys.keepUp(now: 5_001)
        #expect(again.map(\.connection) == [there])
        _ = keys.answered(
            try result(there, .released(version: try Version("000000000001-0000-a"), revision: 2)), isConnected: false)
        #expect(keys.keys.isEmpty)
    }

    /// The same, for another connection.
    private func moved(_ result: CommittedChanges.Result, to id: ConnectionID) -> CommittedChanges.Result {
        guard let key = result.key, let ephemeral = result.ephemeral else { preconditionFailure("it is a claim") }
        var claim = ClientMessage.Lease(.claim, key: key)
        claim.endsWithConnection = true
        let request = WriteRequest(
            action: .lease(claim), agent: Agent(random: 0), origin: Origin(loop: 0, connection: id))
        return CommittedChanges.Result(request, outcome: result.outcome, ephemeral: ephemeral)
    }

    @Test("A claim that comes too late for its connection ends at once")
    mutating func late() throws {
        keys.requested(by: here)
        _ = keys.disconnected(here)
        let request = keys.answered(try claimed("a", until: lease), isConnected: false)
        #expect(text([try #require(request)]) == ["end a"])
    }

    @Test("A keep that is refused is the end of a key, but not of one that was made anew since it was asked for")
    mutating func refusedKeep() throws {
        let refusal = WriteOutcome.claimRefused(.staleFence, holder: nil, expiresAt: nil)
        hold(try claimed("a", fence: 1, until: lease))
        let due = WallTime.zero + (WriteJudge.connectionLease * 2 / 5 + 1)
        #expect(text(keys.keepUp(now: due)) == ["keep a"])
        hold(try claimed("a", fence: 2, until: due + WriteJudge.connectionLease))
        _ = keys.answered(result(.keep(EphemeralKey(key: try Key("a"), fence: 1)), refusal), isConnected: true)
        #expect(keys.keys.map(\.fence) == [2])
        _ = keys.keepUp(now: due + WriteJudge.connectionLease)
        _ = keys.answered(result(.keep(EphemeralKey(key: try Key("a"), fence: 2)), refusal), isConnected: true)
        #expect(keys.keys.isEmpty)
    }

    @Test("A batch's release ends the claim that it names, and no later one")
    mutating func batches() throws {
        hold(try claimed("a", fence: 2, until: lease), try claimed("b", fence: 2, until: lease))
        let released = [ClientMessage.FencedKey(key: try Key("a"), fence: 1), .init(key: try Key("b"), fence: 2)]
        let receipt = BatchReceipt(
            firstRevision: 1, firstVersion: try Version("000000000001-0000-a"), count: 2, released: released)
        let batch = WriteRequest.Batch(.init(id: nil, op: nil, requirements: [], members: []), bearer: [])
        _ = keys.answered(result(.batch(batch), .batched(receipt)), isConnected: true)
        #expect(keys.keys == [EphemeralKey(key: try Key("a"), fence: 2)])
    }
}
