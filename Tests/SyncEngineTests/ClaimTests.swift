import Registers
import SyncEngine
import SyncProtocol
import Testing

/// The rules of claims, over a register at a time.
struct ClaimTests {
    private let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))
    private var judge = WriteJudge(clock: HybridLogicalClock(), maximumDrift: 60_000, collectedStamp: .zero)
    private var current: StoredRegister?

    private mutating func judge(_ action: WriteRequest.Action, agent: String = "a", now: WallTime) throws
        -> WriteJudge.Verdict
    {
        let request = WriteRequest(action: action, agent: try Agent(agent), origin: origin)
        let verdict = judge.judge(request, current: current, fenced: current, now: now)
        if case .apply(let change) = verdict {
            current = StoredRegister(
                change.register, revision: (current?.revision ?? 0) + 1, fence: change.fence,
                binding: change.binding)
        }
        return verdict
    }

    private mutating func lease(
        _ action: ClientMessage.Lease.Action, fence: Fence? = nil, ttl: UInt64? = 100, op: String? = nil,
        until: Bool = false, value: String? = nil, agent: String = "a", now: WallTime
    ) throws -> WriteJudge.Verdict {
        let lease = ClientMessage.Lease(
            action, key: try Key("k"), fence: fence, timeToLive: ttl, endsWithConnection: until,
            value: value.map { Array($0.utf8) }, op: op.map { Array($0.utf8) })
        return try judge(.lease(lease), agent: agent, now: now)
    }

    private mutating func write(_ value: String? = "1", fence: Fence? = nil, now: WallTime) throws -> WriteJudge.Verdict
    {
        var write = ClientMessage.Write(key: try Key("k"), value: value.map { Array($0.utf8) })
        write.fence = fence.map { ClientMessage.FencedKey(key: write.key, fence: $0) }
        return try judge(.write(write), now: now)
    }

    private func isApplied(_ verdict: WriteJudge.Verdict) -> Bool {
        if case .apply = verdict { return true }
        return false
    }

    private func code(_ verdict: WriteJudge.Verdict) -> ErrorCode? {
        switch verdict {
        case .answer(.refused(let error)): error.code
        case .answer(.claimRefused(let code, _, _)): code
        default: nil
        }
    }

    @Test("A claim is its holder's until its time is over, by the wall clock")
    mutating func exclusive() throws {
        #expect(isApplied(try lease(.claim, now: 1_000)))
        let fence = try #require(current?.fence)
        #expect(current?.register.expiresAt == 1_100)
        let refused = try lease(.claim, agent: "b", now: 1_099)
        #expect(refused == .answer(.claimRefused(.held, holder: try Agent("a"), expiresAt: 1_100)))
        #expect(code(try write(now: 1_099)) == .held)
        #expect(code(try write(nil, now: 1_099)) == .held)
        let register = Register(key: try Key("k"), version: try Version("ffffffffffff-0000-z"), value: [0x31])
        #expect(code(judge.merge(register, current: current, now: 1_099)) == .held)
        // Far ahead by stamps, and not over by the clock on the wall.
        judge = WriteJudge(
            clock: HybridLogicalClock(last: Stamp(milliseconds: 50_000)), maximumDrift: 60_000, collectedStamp: .zero)
        #expect(code(try lease(.claim, agent: "b", now: 1_099)) == .held)
        #expect(isApplied(try lease(.claim, agent: "b", now: 1_100)))
        #expect(try #require(current?.fence) > fence)
    }

    @Test("The fence rises by itself when the clock does not")
    mutating func fences() throws {
        var last: Fence = 0
        for _ in 0..<5 {
            #expect(isApplied(try lease(.claim, now: 1_000)))
            let fence = try #require(current?.fence)
            #expect(fence > last)
            last = fence
            #expect(isApplied(try lease(.release, fence: fence, now: 1_000)))
            #expect(current?.fence == fence)
        }
        // A plain write in between, and a delete, do not take it back.
        #expect(isApplied(try write(now: 1_000)))
        #expect(code(try lease(.claim, now: 1_000)) == .exists)
        #expect(isApplied(try write(nil, now: 1_000)))
        #expect(isApplied(try lease(.claim, now: 1_000)))
        #expect(try #require(current?.fence) > last)
        // Neither does forgetting the key.
        current = nil
        judge = WriteJudge(
            clock: HybridLogicalClock(last: Stamp(milliseconds: 1_000)), maximumDrift: 60_000,
            collectedStamp: Stamp(milliseconds: 900), collectedFence: 5_000)
        #expect(isApplied(try lease(.claim, now: 1_000)))
        #expect(current?.fence == 5_001)
    }

    @Test("A renewal keeps fence, value and op, and is refused when the claim is over")
    mutating func renewal() throws {
        #expect(isApplied(try lease(.claim, op: "op", value: "7", now: 1_000)))
        let fence = try #require(current?.fence)
        #expect(isApplied(try lease(.renew, fence: fence, ttl: 500, now: 1_050)))
        #expect(current?.register.expiresAt == 1_550 && current?.fence == fence)
        #expect(current?.register.value == Array("7".utf8) && current?.op == Array("op".utf8))
        #expect(isApplied(try lease(.renew, fence: fence, ttl: nil, value: "8", now: 1_060)))
        #expect(current?.register.expiresAt == 1_550 && current?.register.value == Array("8".utf8))
        #expect(code(try lease(.renew, fence: fence.next, now: 1_060)) == .staleFence)
        #expect(code(try lease(.renew, fence: fence, now: 1_550)) == .staleFence)
        // The claim's op still answers a resend as long as it is in force.
        current?.register.expiresAt = 2_000
        let again = try lease(.claim, op: "op", agent: "b", now: 1_600)
        guard case .answer(.claimed(let grant)) = again else {
            Issue.record("\(again)")
            return
        }
        #expect(grant.fence == fence)
        #expect(isApplied(try lease(.claim, op: "op", now: 2_000)))
        #expect(try #require(current?.fence) > fence)
    }

    @Test("What a living connection holds is kept up also where its time is over, and nobody has ended it")
    mutating func keptLate() throws {
        // A sweep that failed is put off: the connection must not be told that it has lost what the next sweep keeps for it.
        #expect(isApplied(try lease(.claim, ttl: nil, until: true, now: 1_000)))
        let held = try #require(current)
        let key = EphemeralKey(key: held.register.key, fence: held.fence)
        let late = try #require(held.register.expiresAt) + 1
        #expect(isApplied(try judge(.keep(key), now: late)))
        #expect(try #require(current?.register.expiresAt) > late)
        current?.register = held.register.ended(.expired)
        #expect(code(try judge(.keep(key), now: late)) == .staleFence)
    }

    @Test("A release is answered again when it is sent again, and refused when somebody else has the key")
    mutating func release() throws {
        #expect(isApplied(try lease(.claim, now: 1_000)))
        let fence = try #require(current?.fence)
        #expect(isApplied(try lease(.release, fence: fence, now: 1_001)))
        let version = try #require(current?.register.version)
        #expect(try lease(.release, fence: fence, now: 1_002) == .answer(.released(version: version, revision: 2)))
        #expect(isApplied(try lease(.claim, agent: "b", now: 1_003)))
        #expect(code(try lease(.release, fence: fence, now: 1_004)) == .staleFence)
    }

    @Test("A fenced write is made while its claim is in force, not before, not after, not with another fence")
    mutating func fencedWrites() throws {
        #expect(isApplied(try lease(.claim, now: 1_000)))
        let held = current
        let fence = try #require(current?.fence)
        func fenced(_ token: Fence, _ state: StoredRegister?, now: WallTime) throws -> WriteJudge.Verdict {
            var write = ClientMessage.Write(key: try Key("other"), value: [0x31])
            write.fence = ClientMessage.FencedKey(key: try Key("k"), fence: token)
            var copy = judge
            return copy.judge(
                WriteRequest(write: write, agent: try Agent("a"), origin: origin), current: nil, fenced: state, now: now
            )
        }
        #expect(isApplied(try fenced(fence, held, now: 1_099)))
        #expect(code(try fenced(fence, held, now: 1_100)) == .staleFence)
        #expect(code(try fenced(Fence(fence.rawValue - 1), held, now: 1_000)) == .staleFence)
        #expect(code(try fenced(fence.next, held, now: 1_000)) == .staleFence)
        #expect(code(try fenced(fence, nil, now: 1_000)) == .staleFence)
        #expect(isApplied(try lease(.release, fence: fence, now: 1_000)))
        #expect(code(try fenced(fence, current, now: 1_000)) == .staleFence)
    }

    @Test("What ends with a connection is kept up and ended by its own fence only")
    mutating func holds() throws {
        #expect(isApplied(try lease(.claim, ttl: nil, until: true, now: 1_000)))
        let hold = EphemeralKey(key: try Key("k"), fence: try #require(current?.fence))
        #expect(current?.register.expiresAt == WallTime(milliseconds: 1_000 + WriteJudge.connectionLease))
        let other = EphemeralKey(key: hold.key, fence: Fence(hold.fence.rawValue - 1))
        #expect(code(try judge(.keep(other), now: 2_000)) == .staleFence)
        #expect(isApplied(try judge(.keep(hold), now: 2_000)))
        #expect(current?.register.expiresAt == 2_000 + WriteJudge.connectionLease && current?.fence == hold.fence)
        #expect(code(try judge(.end(other), now: 2_000)) == .staleFence)
        let version = current?.register.version
        #expect(isApplied(try judge(.end(hold), now: 2_000)))
        #expect(current?.register.cause == .disconnected && current?.register.version == version)
        #expect(code(try judge(.end(hold), now: 2_000)) == .staleFence)
        #expect(code(try judge(.keep(hold), now: 2_000)) == .staleFence)
    }

    @Test("A presence is no claim: its fence releases nothing, and it is not said to be over")
    mutating func presenceIsNoClaim() throws {
        var write = ClientMessage.Write(key: try Key("k"), value: [0x31])
        write.endsWithConnection = true
        #expect(isApplied(try judge(.write(write), now: 1_000)))
        let fence = try #require(current?.fence)
        #expect(code(try lease(.release, fence: fence, now: 1_001)) == .staleFence)
    }

    @Test("Presence is a plain register: anyone may write over it, and then it ends with nobody")
    mutating func presence() throws {
        var write = ClientMessage.Write(key: try Key("k"), value: [0x31])
        write.endsWithConnection = true
        #expect(isApplied(try judge(.write(write), now: 1_000)))
        let first = EphemeralKey(key: write.key, fence: try #require(current?.fence))
        // Another connection is present under the same key: the end of the first is not the end of it.
        #expect(isApplied(try judge(.write(write), agent: "b", now: 1_000)))
        #expect(code(try judge(.end(first), now: 1_000)) == .staleFence)
        let second = EphemeralKey(key: write.key, fence: try #require(current?.fence))
        #expect(isApplied(try self.write("2", now: 1_000)))
        #expect(code(try judge(.end(second), now: 1_000)) == .staleFence)
        #expect(current?.register.value == Array("2".utf8))
    }
}
