import Foundation
import NIOCore
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import TestSupport
import Testing

final class SQLiteReaderTests {
    private static let framing: Framing = { buffer, body in
        body(&buffer)
        buffer.writeStaticString("\n")
    }

    private let folder: TemporaryFolder
    private let database: SQLiteDatabase
    private let writer: SQLiteWriter
    private let reader: PageReader<SQLiteReader>
    private var shard: Shard
    private let output = Output()

    /// Takes the jobs that a shard has for readers: the one way to get a page request.
    private final class Output: ShardOutput {
        var jobs: [ReadJob] = []
        func send(_ frames: ByteBuffer, to slot: Int32) {}
        func deliver(_ delivery: Delivery) {}
        func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {}
        func close(_ slot: Int32) {}
        func submit(_ writes: [WriteRequest]) {}
        func submit(_ job: ReadJob) { jobs.append(job) }
        func submit(_ request: ServiceRequest) {}
    }

    init() throws {
        folder = try TemporaryFolder()
        var random = SeededGenerator(seed: 1)
        database = try SQLiteDatabase(.init(path: folder.path("a.db")), now: 0, random: &random)
        writer = try database.makeWriter()
        reader = PageReader(store: SQLiteReader(database: database), framing: Self.framing)
        let welcome = Welcome(
            server: "", node: "", limits: .init(value: 0, message: 0, subscriptions: 9, drift: 0), pingInterval: 0)
        shard = Shard(configuration: .init(loop: 0, welcome: welcome, framing: Self.framing), state: database.state)
    }

    private func put(
        _ key: String, _ value: String?, _ revision: UInt64, replacing: UInt64? = nil, expiresAt: WallTime? = nil
    ) throws {
        let register = Register(
            key: try Key(key), version: Version(stamp: Stamp(milliseconds: revision), agent: try Agent("a")),
            value: value.map { Array($0.utf8) }, expiresAt: expiresAt)
        try writer.put(
            StoredRegister(register, revision: Revision(revision), row: replacing.map { RowID($0) }),
            replacing: replacing.map { Revision($0) })
    }

    /// Subscribes, and goes through all pages until the subscription is live.
    private func pages(_ pattern: String, since: UInt64? = nil, now: WallTime = 0) throws -> [String] {
        let head = try writer.state().head
        // The shard is told of what was committed behind its back.
        let batch = CommittedChanges(
            head: head, changes: [], frames: ByteBuffer(), collectedRevision: 0)
        shard.changesCommitted(Committed(batch, results: [[]]), Turn(head: head, now: 0))
        let id = shard.connectionOpened(agent: Agent(random: 0), now: 0)
        let cursor = since.map { Cursor(epoch: database.state.epoch, revision: Revision($0)) }
        shard.messageReceived(
            .message(
                .subscribe(.init(id: RequestID(json: Array("1".utf8)), pattern: try Pattern(pattern), since: cursor))),
            from: id, Turn(head: head, now: 0))
        var keys: [String] = []
        shard.flush(into: output)
        while let job = output.jobs.popLast() {
            guard case .page(let request) = job else { continue }
            let page = reader.page(request, now: now)
            #expect(page.failure == nil)
            keys += page.rows.map { $0.key.description }
            shard.pageRead(page, Turn(head: head, now: 0))
            shard.flush(into: output)
        }
        #expect(shard.snapshot.subscriptionsCatchingUp == 0)
        shard.connectionClosed(id)
        return keys
    }

    @Test("Snapshots by key have what matches, and nothing that is gone")
    func snapshots() throws {
        try writer.begin(now: 0, clockBound: nil)
        let keys = ["a", "a:1", "a:1:x", "a:2", "a;", "b:1", "é"]
        for (index, key) in keys.enumerated() { try put(key, "1", UInt64(index + 1)) }
        try put("a:gone", "1", 20, expiresAt: 100)
        try writer.commit()
        try writer.begin(now: 0, clockBound: nil)
        try put("a:2", nil, 21, replacing: 4)
        try writer.commit()
        #expect(try pages("*", now: 50) == ["a", "a:1", "a:1:x", "a:gone", "a;", "b:1", "é"])
        #expect(try pages("a:*", now: 100) == ["a:1", "a:1:x"])
        #expect(try pages("a:1", now: 100) == ["a:1"])
        #expect(try pages("?:1", now: 100) == ["a:1", "b:1"])
        #expect(try pages("**x", now: 100) == ["a:1:x"])
        #expect(try pages("zzz*", now: 100) == [])
        #expect(try pages("é", now: 100) == ["é"])
    }

    @Test("Catching up has every change behind the cursor once, expired ones as deletes")
    func changes() throws {
        try writer.begin(now: 0, clockBound: nil)
        for index in 1...5 as ClosedRange<UInt64> { try put("k\(index)", "1", index) }
        try writer.commit()
        try writer.begin(now: 0, clockBound: nil)
        try put("k2", "2", 6, replacing: 2)
        try put("k1", nil, 7, replacing: 1)
        try put("t", "1", 8, expiresAt: 100)
        try writer.commit()
        #expect(try pages("*", since: 3, now: 100) == ["k4", "k5", "k2", "k1", "t"])
        #expect(try pages("k1", since: 3, now: 100) == ["k1"])
        #expect(try pages("*", since: 8) == [])
    }

    @Test("Many rows come in many pages, none twice and none missing")
    func paging() throws {
        try writer.begin(now: 0, clockBound: nil)
        let value = "\"" + String(repeating: "x", count: 100) + "\""
        for index in 1...9_000 as ClosedRange<UInt64> { try put("k:\(index)", value, index) }
        try writer.commit()
        let keys = try pages("k:*")
        #expect(keys.count == 9_000)
        #expect(zip(keys, keys.dropFirst()).allSatisfy { $0 < $1 })
        #expect(try pages("**9", since: 0).count == 900)
        #expect(try pages("k:8999", since: 0) == ["k:8999"])
    }

    @Test("A list stops at its limit, and at its size, and says where to go on")
    func lists() throws {
        try writer.begin(now: 0, clockBound: nil)
        let large = "\"" + String(repeating: "x", count: 100_000) + "\""
        for index in 1...9 as ClosedRange<UInt64> { try put("k\(index)", large, index) }
        try put("j", "1", 10, expiresAt: 5)
        try put("l", nil, 11)
        try writer.commit()
        var after: Key?
        var keys: [String] = []
        var answers = 0
        repeat {
            let list = ClientMessage.List(id: nil, pattern: .everything, limit: 1_000, after: after)
            let result = reader.look(
                up: LookupRequest(connection: ConnectionID(slot: 0, generation: 0), lookups: [.list(list)]), now: 5)
            let answer = try JSONObject(Array(result.frames.readableBytesView))
            keys += (answer.array("registers") ?? []).compactMap { (try? JSONObject($0))?.string("key") }
            after = try answer.string("next").map { try Key($0) }
            answers += 1
        } while after != nil && answers < 100
        #expect(keys == (1...9).map { "k\($0)" })
        #expect(answers > 2)
    }
}
