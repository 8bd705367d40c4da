import NIOCore
import Registers
import Simulation
import SyncEngine
import SyncProtocol
import Testing

struct CommitterTests {
    private static let framing: Framing = { buffer, body in
        body(&buffer)
        buffer.writeStaticString("\n")
    }

    private func committer(_ store: SimulatedDisk) throws -> Committer<SimulatedDisk, NoRules> {
        Committer(
            store: store, state: try store.state(), loops: 2, maximumDrift: 60_000, cacheSize: 1 << 16,
            rules: NoRules(),
            framing: Self.framing)
    }

    private func request(_ key: String, _ value: String?, loop: Int = 0, transient: Bool = false) throws -> WriteRequest
    {
        WriteRequest(
            write: ClientMessage.Write(
                id: RequestID(json: Array("1".utf8)), key: try Key(key), value: value.map { Array($0.utf8) },
                isTransient: transient),
            agent: try Agent("a"), origin: Origin(loop: loop, connection: ConnectionID(slot: 0, generation: 1)))
    }

    @Test("Each write sees the ones before it, gets the next revision, and is answered to its loop")
    func commits() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        let (commit, failure) = committer.commit(
            [try request("a", "1"), try request("b", "2", loop: 1), try request("a", "3"), try request("a", nil)],
            now: 1_000)
        #expect(failure == nil)
        #expect(commit.changes.map(\.revision) == [1, 2, 3, 4])
        #expect(commit.head == 4 && committer.head == 4)
        #expect(commit.results.map(\.count) == [3, 1])
        #expect(store.committed[try Key("a")]?.revision == 4)
        #expect(store.committed[try Key("a")]?.register.isTombstone == true)
        let frames = String(buffer: commit.made.frames(0..<4)).split(separator: "\n")
        #expect(frames.count == 4)
        #expect(String(buffer: commit.made.frames(1..<2)).hasPrefix(#"{"type":"update","key":"b""#))
    }

    @Test("Transient broadcasts keep their place among the changes, and touch no disk")
    func transient() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        let (commit, _) = committer.commit(
            [try request("a", "1"), try request("t", "2", transient: true), try request("b", "3")], now: 1_000)
        #expect(commit.changes.map(\.revision) == [1, nil, 2])
        #expect(store.committed[try Key("t")] == nil)
        store.fault = .begin
        let (second, failure) = committer.commit([try request("t", "2", transient: true)], now: 1_000)
        #expect(failure == nil && second.changes.count == 1)
    }

    @Test("What is told is on the disk: the clock's bound is above every stamp")
    func bound() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        for milliseconds in stride(from: 1_000 as UInt64, through: 9_000, by: 333) {
            let now = WallTime(milliseconds: milliseconds)
            _ = committer.commit([try request("a", "1")], now: now)
            #expect(store.bound >= committer.lastStamp)
            #expect(store.bound.milliseconds <= milliseconds + 2_001)
            let ahead = Stamp(milliseconds: milliseconds + 50)
            let brought = WriteRequest(
                write: ClientMessage.Write(key: try Key("b"), value: [0x31], stamping: .timestamp(milliseconds + 50)),
                agent: try Agent("a"), stamp: ahead,
                origin: Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1)))
            _ = committer.commit([brought], now: now)
            #expect(store.bound >= ahead)
        }
        // A restart goes on above everything that was told, also when the wall clock has gone back.
        var restarted = try self.committer(store)
        let (commit, _) = restarted.commit([try request("a", "2")], now: 10)
        guard case .applied(let version, _, _, _) = commit.results[0][0].outcome else {
            Issue.record("not applied")
            return
        }
        #expect(version.stamp > committer.lastStamp)
    }

    @Test("What two commits that seemed to fail have ended and made is kept up for nobody")
    func heldByNobody() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        let lock = try Key("lock")
        func claim(_ slot: Int32) throws -> WriteRequest {
            WriteRequest(
                action: .lease(ClientMessage.Lease(.claim, key: lock, endsWithConnection: true)), agent: try Agent("a"),
                origin: Origin(loop: 0, connection: ConnectionID(slot: slot, generation: 1)))
        }
        _ = committer.commit([try claim(0)], now: 1_000)
        let fence = try #require(store.committed[lock]?.fence)
        store.fault = .commitKept
        let end = WriteRequest(
            action: .end(EphemeralKey(key: lock, fence: fence)), agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1)))
        _ = committer.commit([end], now: 1_001)
        _ = committer.commit([try claim(1)], now: 1_002)
        store.fault = .none
        // It is on the disk, and its connection was told that nobody knows.
        #expect(store.committed[lock]?.fence != fence && store.committed[lock]?.binding == .claimUntilDisconnect)
        _ = committer.commit([try request("a", "1")], now: 1_003 + WriteJudge.connectionLease)
        #expect(store.committed[lock]?.register.isTombstone == true)
    }

    @Test("A failure before the commit changes nothing, and says so", arguments: [SimulatedDisk.Fault.begin, .put])
    func refused(fault: SimulatedDisk.Fault) throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        _ = committer.commit([try request("a", "1")], now: 1_000)
        store.fault = fault
        let (commit, failure) = committer.commit([try request("a", "2"), try request("c", "2")], now: 1_000)
        #expect(failure != nil && commit.changes.isEmpty && commit.head == 1)
        for result in commit.results[0] {
            guard case .refused(let error) = result.outcome else {
                Issue.record("not refused")
                return
            }
            #expect(error.code == .storageFailed)
        }
        store.fault = .none
        let (next, _) = committer.commit([try request("a", "3")], now: 1_000)
        #expect(next.changes.map(\.revision) == [2])
    }

    @Test(
        "A failed commit is outcome_unknown, and what comes next rests on what the disk has", arguments: [true, false])
    func unknown(isKept: Bool) throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        _ = committer.commit([try request("a", "1")], now: 1_000)
        store.fault = isKept ? .commitKept : .commitLost
        let (commit, failure) = committer.commit([try request("a", "2")], now: 1_000)
        #expect(failure != nil)
        guard case .refused(let error) = commit.results[0][0].outcome else {
            Issue.record("not refused")
            return
        }
        #expect(error.code == .outcomeUnknown && error.code.mayRetry)
        // What was made all the same reaches subscribers: they would have a gap else.
        #expect(commit.changes.map(\.revision) == (isKept ? [2] : []) && commit.head == (isKept ? 2 : 1))
        store.fault = .none
        let (next, _) = committer.commit([try request("a", "3")], now: 1_000)
        #expect(next.changes.map(\.revision) == [isKept ? 3 : 2])
        #expect(store.committed[try Key("a")]?.register.value == Array("3".utf8))
    }

    @Test("While not even the head can be read, writes are refused; afterwards they go on")
    func blind() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        store.fault = .commitKept
        store.isBlind = true
        let (unknown, _) = committer.commit([try request("a", "1")], now: 1_000)
        #expect(unknown.changes.isEmpty && unknown.head == 0)
        store.fault = .none
        let (refused, failure) = committer.commit([try request("a", "2")], now: 1_000)
        #expect(failure != nil && refused.changes.isEmpty)
        store.isBlind = false
        let (next, _) = committer.commit([try request("a", "3")], now: 1_000)
        // What was made although it failed is told as soon as the disk answers: there would be a gap else.
        #expect(next.changes.map(\.revision) == [1, 2] && next.head == 2)
    }

    @Test("A probe of the disk has something new for it each time: what stands there already would not be written")
    func probes() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        _ = committer.commit([try request("a", "1")], now: 1_000)
        for _ in 0..<3 {
            let before = store.bound
            let (changes, failure) = committer.probe(now: 1_000)
            #expect(failure == nil && changes.changes.isEmpty)
            #expect(store.bound > before)
        }
        store.fault = .commitLost
        #expect(committer.probe(now: 1_000).1 != nil)
    }

    // MARK: Ephemeral keys and sweeps

    private func claim(_ key: String, op: String, from slot: Int32, ttl: UInt64? = nil) throws -> WriteRequest {
        let lease = ClientMessage.Lease(
            .claim, key: try Key(key), timeToLive: ttl, endsWithConnection: true, op: Array(op.utf8))
        return request(.lease(lease), from: slot)
    }

    private func request(_ action: WriteRequest.Action, from slot: Int32) -> WriteRequest {
        WriteRequest(
            action: action, agent: Agent(random: 1),
            origin: Origin(loop: 0, connection: ConnectionID(slot: slot, generation: 1)))
    }

    @Test("A claim that was sent again on a new connection is kept and ended by that one only")
    func moved() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        let first = committer.commit([try claim("k", op: "op", from: 1)], now: 1_000).0
        let hold = try #require(first.results[0][0].ephemeral).key
        let second = committer.commit([try claim("k", op: "op", from: 2)], now: 1_001).0
        #expect(second.results[0][0].ephemeral?.key == hold && second.changes.isEmpty)
        // The old connection does not know yet, and does not take it back.
        let kept = committer.commit([request(.keep(hold), from: 1)], now: 30_000).0
        #expect(kept.results[0][0].ephemeral == nil && kept.changes.isEmpty)
        let ended = committer.commit([request(.end(hold), from: 1)], now: 30_001).0
        #expect(ended.results[0][0].ended == hold && ended.changes.isEmpty)
        #expect(committer.commit([request(.keep(hold), from: 2)], now: 30_002).0.results[0][0].ephemeral?.key == hold)
        let end = committer.commit([request(.end(hold), from: 2)], now: 30_003).0
        #expect(end.changes.count == 1 && store.committed[hold.key]?.register.cause == .disconnected)
    }

    @Test(
        "What the server could not keep up in time goes on while its connection lives; what has a time of its own does not"
    )
    func lateKeep() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        _ = committer.commit(
            [try claim("kept", op: "1", from: 1), try claim("own", op: "2", from: 1, ttl: 50_000)], now: 1_000)
        // The disk failed for longer than the lease, or the wall clock was set forward.
        let (commit, _) = committer.commit([], now: 500_000)
        #expect(commit.changes.count == 2)
        #expect(store.committed[try Key("kept")]?.register.isTombstone == false)
        #expect(store.committed[try Key("kept")]?.register.expiresAt == 500_000 + WriteJudge.connectionLease)
        #expect(store.committed[try Key("own")]?.register.cause == .expired)
    }

    @Test("A renewed claim still ends with its connection")
    func renewedHold() throws {
        var committer = try committer(SimulatedDisk())
        let first = committer.commit([try claim("k", op: "op", from: 1, ttl: 100)], now: 1_000).0
        let held = try #require(first.results[0][0].ephemeral)
        #expect(held.upkeep == .client)
        let lease = ClientMessage.Lease(.renew, key: try Key("k"), fence: held.key.fence, timeToLive: 900)
        let renewed = committer.commit([request(.lease(lease), from: 1)], now: 1_050).0.results[0][0].ephemeral
        #expect(renewed?.key == held.key && renewed?.expiresAt == 1_950 && renewed?.upkeep == .client)
        // By somebody else who has the fence, it goes on being the first one's.
        #expect(committer.commit([request(.lease(lease), from: 2)], now: 1_050).0.results[0][0].ephemeral == nil)
        #expect(committer.commit([request(.end(held.key), from: 1)], now: 1_060).0.changes.count == 1)
    }

    @Test("A renewal with a time gives a claim that was kept up that time, and one without leaves its time alone")
    func renewedTime() throws {
        var committer = try committer(SimulatedDisk())
        let hold = try #require(
            committer.commit([try claim("k", op: "op", from: 1)], now: 1_000).0.results[0][0].ephemeral
        )
        .key
        var lease = ClientMessage.Lease(.renew, key: hold.key, fence: hold.fence, timeToLive: 3_000)
        #expect(
            committer.commit([request(.lease(lease), from: 1)], now: 1_000).0.results[0][0].ephemeral?.upkeep == .client
        )
        // A keep that was on its way does not take the promise back.
        #expect(committer.commit([request(.keep(hold), from: 1)], now: 1_001).0.changes.isEmpty)
        lease.timeToLive = nil
        lease.value = [0x31]
        #expect(
            committer.commit([request(.lease(lease), from: 1)], now: 1_002).0.results[0][0].ephemeral?.expiresAt
                == 4_000)
        #expect(committer.commit([], now: 4_000).0.changes.count == 1)
    }

    @Test("A write that is sent again after its register has expired is answered as what it was, and not made again")
    func resentAfterExpiry() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        var write = ClientMessage.Write(
            id: nil, key: try Key("k"), value: [0x31], timeToLive: 100, op: Array("op".utf8))
        write.session = Array("s".utf8)
        let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))
        let request = WriteRequest(write: write, agent: try Agent("a"), origin: origin)
        _ = committer.commit([request], now: 1_000)
        _ = committer.commit([], now: 2_000)
        let tombstone = try #require(store.committed[try Key("k")])
        #expect(tombstone.register.cause == .expired && tombstone.op == write.op && tombstone.register.session == nil)
        let (again, _) = committer.commit([request], now: 2_001)
        guard case .applied(let version, let revision, _, _) = again.results[0][0].outcome else {
            Issue.record("\(again.results[0][0].outcome)")
            return
        }
        #expect(version == tombstone.register.version && revision == tombstone.revision && again.changes.isEmpty)
    }

    @Test("While the disk fails, sweeps wait, and what is written is not refused on account of them")
    func sweepPause() throws {
        let store = SimulatedDisk()
        var committer = try committer(store)
        var write = try request("a", "1")
        if case .write(var inner) = write.action {
            inner.timeToLive = 10
            write = WriteRequest(write: inner, agent: write.agent, origin: write.origin)
        }
        _ = committer.commit([write], now: 1_000)
        store.fault = .commitLost
        _ = committer.commit([], now: 1_010)
        #expect(committer.nextExpiry == 2_010)
        store.fault = .none
        #expect(committer.commit([], now: 2_010).0.changes.count == 1)
        #expect(committer.nextExpiry == nil)
    }
}
