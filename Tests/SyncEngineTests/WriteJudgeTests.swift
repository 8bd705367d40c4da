import Registers
import SyncEngine
import SyncProtocol
import Testing

struct WriteJudgeTests {
    private let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))
    private var judge = WriteJudge(
        clock: HybridLogicalClock(), maximumDrift: 60_000, collectedStamp: Stamp(milliseconds: 50))

    private func request(
        _ value: String? = "1", stamp: Stamp? = nil, _ change: (inout ClientMessage.Write) -> Void = { _ in }
    ) throws -> WriteRequest {
        var write = ClientMessage.Write(key: try Key("k"), value: value.map { Array($0.utf8) })
        if let stamp { write.stamping = .timestamp(stamp.milliseconds) }
        change(&write)
        return WriteRequest(write: write, agent: try Agent("a"), stamp: stamp, origin: origin)
    }

    private func stored(_ version: String, value: String? = "0", expiresAt: WallTime? = nil) throws -> StoredRegister {
        StoredRegister(
            Register(
                key: try Key("k"), version: try Version(version), value: value.map { Array($0.utf8) },
                expiresAt: expiresAt),
            revision: 9, op: Array("op".utf8))
    }

    private func version(_ verdict: WriteJudge.Verdict) -> Version? {
        if case .apply(let change) = verdict { return change.register.version }
        return nil
    }

    private func code(_ verdict: WriteJudge.Verdict) -> ErrorCode? {
        if case .answer(.refused(let error)) = verdict { return error.code }
        return nil
    }

    @Test("The server stamps by its wall clock, and above everything it has received")
    mutating func serverStamps() throws {
        #expect(version(judge.judge(try request(), current: nil, now: 1_000))?.stamp == Stamp(milliseconds: 1_000))
        #expect(
            version(judge.judge(try request(), current: nil, now: 1_000))?.stamp
                == Stamp(milliseconds: 1_000, counter: 1))
        // A phone 50 s ahead must not make plain broadcasts lose.
        let ahead = Stamp(milliseconds: 51_000)
        #expect(version(judge.judge(try request(stamp: ahead), current: nil, now: 1_000))?.stamp == ahead)
        #expect(version(judge.judge(try request(), current: nil, now: 1_001))?.stamp == ahead.next)
    }

    @Test("Drift is judged by the wall clock, so that a client cannot ratchet the clock up")
    mutating func drift() throws {
        let limit = Stamp(milliseconds: 61_000)
        #expect(version(judge.judge(try request(stamp: limit), current: nil, now: 1_000)) != nil)
        for _ in 0..<3 {
            let beyond = Stamp(milliseconds: 61_001)
            #expect(code(judge.judge(try request(stamp: beyond), current: nil, now: 1_000)) == .drift)
        }
        #expect(judge.clock.last == limit)
        let whole = try request {
            $0.stamping = .version(Version(stamp: Stamp(milliseconds: 61_001), agent: try! Agent("x")))
        }
        #expect(code(judge.judge(whole, current: nil, now: 1_000)) == .drift)
        // The greatest stamp there is must be refused without a trap.
        let greatest = Stamp(milliseconds: Stamp.maximumMilliseconds, counter: .max)
        #expect(code(judge.judge(try request(stamp: greatest), current: nil, now: 1_000)) == .drift)
    }

    @Test("A stamp older than what was collected is refused, but only for a key without a register")
    mutating func horizon() throws {
        let old = Stamp(milliseconds: 50)
        #expect(code(judge.judge(try request(stamp: old), current: nil, now: 1_000)) == .staleVersion)
        #expect(version(judge.judge(try request(stamp: old.next), current: nil, now: 1_000)) != nil)
        let current = try stored("000000000001-0000-a")
        #expect(version(judge.judge(try request(stamp: old), current: current, now: 1_000)) != nil)
    }

    @Test("A conditional write is stamped by the server, above the current version, whatever timestamp it brings")
    mutating func conditions() throws {
        let current = try stored("000000100000-0000-a")
        judge = WriteJudge(
            clock: HybridLogicalClock(last: current.register.version.stamp), maximumDrift: 60_000, collectedStamp: .zero
        )
        let right = try request(stamp: Stamp(milliseconds: 1)) { $0.condition = .version(current.register.version) }
        let stamped = try #require(version(judge.judge(right, current: current, now: 5)))
        #expect(stamped > current.register.version)
        let wrong = try request { $0.condition = .version(try! Version("000000000001-0000-a")) }
        #expect(judge.judge(wrong, current: current, now: 5) == .answer(.conditionFailed(current: current)))
        let absent = try request { $0.condition = .absent }
        #expect(judge.judge(absent, current: current, now: 5) == .answer(.conditionFailed(current: current)))
        #expect(version(judge.judge(absent, current: try stored("000000100000-0000-a", value: nil), now: 5)) != nil)
        let expired = try stored("000000100000-0000-a", expiresAt: 5)
        #expect(version(judge.judge(absent, current: expired, now: 5)) != nil)
        let overExpired = try request { $0.condition = .version(current.register.version) }
        #expect(judge.judge(overExpired, current: expired, now: 5) == .answer(.conditionFailed(current: nil)))
    }

    @Test("The op of the current register is answered as the first time, also when its condition would fail now")
    mutating func ops() throws {
        let current = try stored("000000100000-0000-a")
        let resent = try request {
            $0.op = Array("op".utf8)
            $0.condition = .absent
            $0.value = current.register.value
        }
        let reused = try request { $0.op = Array("op".utf8) }
        guard case .answer(.refused(let error)) = judge.judge(reused, current: current, now: 5) else {
            Issue.record("another write is answered as if it had been made")
            return
        }
        #expect(error.code == .badMessage)
        #expect(
            judge.judge(resent, current: current, now: 5)
                == .answer(.applied(version: current.register.version, revision: 9, isJudged: true)))
        let other = try request { $0.op = Array("other".utf8) }
        #expect(version(judge.judge(other, current: current, now: 0x20_0000)) != nil)
    }

    @Test("The time to live starts with the client's stamp, or with the server's wall clock")
    mutating func timeToLive() throws {
        func expiry(_ verdict: WriteJudge.Verdict) -> WallTime? {
            if case .apply(let change) = verdict { return change.register.expiresAt }
            return nil
        }
        judge = WriteJudge(
            clock: HybridLogicalClock(last: Stamp(milliseconds: 40_000)), maximumDrift: 60_000, collectedStamp: .zero)
        // The hybrid clock is ahead; the wall clock counts.
        #expect(expiry(judge.judge(try request { $0.timeToLive = 500 }, current: nil, now: 1_000)) == 1_500)
        let stamped = try request(stamp: Stamp(milliseconds: 900)) { $0.timeToLive = 500 }
        #expect(expiry(judge.judge(stamped, current: nil, now: 1_000)) == 1_400)
        let conditional = try request(stamp: Stamp(milliseconds: 900)) {
            $0.timeToLive = 500
            $0.condition = .absent
        }
        #expect(expiry(judge.judge(conditional, current: nil, now: 1_000)) == 1_500)
    }

    @Test("A transient broadcast is stamped, not merged")
    mutating func transient() throws {
        let verdict = judge.judge(try request { $0.isTransient = true }, current: nil, now: 1_000)
        guard case .fanOut(let register) = verdict else {
            Issue.record("\(verdict)")
            return
        }
        #expect(register.version.stamp == Stamp(milliseconds: 1_000))
    }

    @Test("Equal milliseconds of one connection get rising counters, also when time goes back in between")
    func counters() {
        var counters = TimestampCounters()
        let stamps = [5, 4, 5, 4, 6, 5].map { counters.stamp($0) }
        #expect(stamps.map(\.counter) == [0, 0, 1, 1, 0, 2])
        for milliseconds in 0..<1_000 as Range<UInt64> { _ = counters.stamp(milliseconds + 10) }
        #expect(counters.stamp(1_009).counter == 1)
    }

    @Test("A full counter carries into the milliseconds, and goes on rising")
    func overflow() {
        var counters = TimestampCounters()
        var last = counters.stamp(7)
        for _ in 0..<65_535 { last = counters.stamp(7) }
        #expect(last == Stamp(milliseconds: 7, counter: .max))
        let carried = counters.stamp(7)
        #expect(carried == Stamp(milliseconds: 8))
        #expect(counters.stamp(7) > carried)
        // The greatest milliseconds that a client can name have no next ones.
        for _ in 0..<65_540 { last = counters.stamp(Stamp.maximumMilliseconds) }
        #expect(last.rawValue == .max)
    }
}
