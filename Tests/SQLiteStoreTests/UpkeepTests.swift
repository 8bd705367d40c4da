import Foundation
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import TestSupport
import Testing

/// What the writer finds and forgets of its own accord, and what a crash may leave of its log.
struct UpkeepTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func open(_ name: String = "a.db") throws -> SQLiteDatabase {
        var random = SeededGenerator(seed: 1)
        return try SQLiteDatabase(.init(path: folder.path(name), bootID: "boot"), now: 1_000, random: &random)
    }

    private func stored(
        _ key: String, _ value: String?, revision: UInt64, at milliseconds: UInt64? = nil, expiresAt: WallTime? = nil,
        fence: UInt64 = 0, binding: Binding? = nil
    ) throws -> StoredRegister {
        let stamp = Stamp(milliseconds: milliseconds ?? revision)
        let register = Register(
            key: try Key(key), version: Version(stamp: stamp, agent: try Agent("a")),
            value: value.map { Array($0.utf8) },
            expiresAt: expiresAt)
        return StoredRegister(register, revision: Revision(revision), fence: Fence(fence), binding: binding)
    }

    private func put(_ writer: SQLiteWriter, now: WallTime, _ registers: StoredRegister...) throws {
        try writer.begin(now: now, clockBound: nil)
        for register in registers { try writer.put(register, replacing: nil) }
        try writer.commit()
    }

    private func keys(_ registers: [StoredRegister]) -> [String] { registers.map(\.register.key.description) }

    @Test("What is over is found by its time, the first first, and tombstones are over already")
    func expiry() throws {
        let writer = try open().makeWriter()
        #expect(try writer.nextExpiry(skipping: 0) == nil)
        try put(
            writer, now: 1, stored("late", "1", revision: 1, expiresAt: 30),
            stored("soon", "1", revision: 2, expiresAt: 10),
            stored("gone", nil, revision: 3, expiresAt: 5), stored("for ever", "1", revision: 4))
        #expect(try writer.nextExpiry(skipping: 0) == 10)
        #expect(try keys(writer.expired(at: 9, limit: 9, skipping: 0)) == [])
        #expect(try keys(writer.expired(at: 10, limit: 9, skipping: 0)) == ["soon"])
        #expect(try keys(writer.expired(at: 99, limit: 9, skipping: 0)) == ["soon", "late"])
        #expect(try keys(writer.expired(at: 99, limit: 1, skipping: 0)) == ["soon"])
    }

    private func keep(_ writer: SQLiteWriter, _ op: String, bearer: String = "", at now: WallTime) throws {
        try writer.begin(now: now, clockBound: nil)
        let operation = OperationID(op: Array(op.utf8), bearer: Array(bearer.utf8))
        try writer.put(KeptAnswer(operation, answeredAt: now, text: Array("\(op) at \(now)".utf8)))
        try writer.commit()
    }

    private func answer(_ writer: SQLiteWriter, _ op: String, bearer: String = "", since: WallTime) throws -> String? {
        try writer.answer(to: OperationID(op: Array(op.utf8), bearer: Array(bearer.utf8)), since: since)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("Answers are kept for each bearer, and go when their time is over, a few with each new one")
    func answers() throws {
        let writer = try open().makeWriter()
        try keep(writer, "a", at: 1_000)
        try keep(writer, "a", bearer: "x", at: 1_001)
        #expect(try answer(writer, "a", since: 1_000) == "a at 1000")
        #expect(try answer(writer, "a", since: 1_001) == nil)
        #expect(try answer(writer, "a", bearer: "x", since: 0) == "a at 1001")
        #expect(try answer(writer, "a", bearer: "y", since: 0) == nil)
        try keep(writer, "a", at: 2_000)
        #expect(try answer(writer, "a", since: 1_001) == "a at 2000")
        for number in 0..<6 { try keep(writer, "\(number)", at: 3_000) }
        try keep(writer, "b", at: 3_001 + KeptAnswer.lifetime)
        // Four of the eight that were too old.
        #expect(try ["a", "0", "1", "2"].map { try answer(writer, $0, since: 0) } == [nil, nil, nil, "2 at 3000"])
        #expect(try answer(writer, "a", bearer: "x", since: 0) == nil)
        // And all the others, when nobody wants anything.
        try writer.begin(now: 3_002 + KeptAnswer.lifetime, clockBound: nil)
        _ = try writer.collect(before: 0, limit: 1)
        try writer.commit()
        #expect(try answer(writer, "2", since: 0) == nil && answer(writer, "b", since: 0) != nil)
        // A clock that was set back makes nothing old, but what is of a time to come.
        try keep(writer, "c", at: 3_000 + KeptAnswer.lifetime)
        #expect(try answer(writer, "b", since: 0) != nil)
        try keep(writer, "d", at: 5)
        #expect(try answer(writer, "b", since: 0) == nil && answer(writer, "d", since: 0) != nil)
    }

    @Test("One bearer's answers make way for that one's, and not for those of others")
    func answersOfBearers() throws {
        let writer = try open().makeWriter()
        try keep(writer, "a", bearer: "x", at: 1_000)
        try writer.begin(now: 1_001, clockBound: nil)
        for number in 0...KeptAnswer.maximumCountOfBearer {
            let operation = OperationID(op: Array("\(number)".utf8), bearer: [0x79])
            try writer.put(KeptAnswer(operation, answeredAt: 1_001, text: [0x31]))
        }
        try writer.commit()
        #expect(try answer(writer, "0", bearer: "y", since: 0) == nil)
        #expect(try answer(writer, "1", bearer: "y", since: 0) == "1")
        #expect(try answer(writer, "a", bearer: "x", since: 0) == "a at 1000")
        // However many have come and gone of the one.
        try writer.begin(now: 1_002, clockBound: nil)
        for number in 0...KeptAnswer.maximumCount {
            let operation = OperationID(op: Array("n\(number)".utf8), bearer: [0x79])
            try writer.put(KeptAnswer(operation, answeredAt: 1_002, text: [0x31]))
        }
        try writer.commit()
        #expect(try answer(writer, "a", bearer: "x", since: 0) == "a at 1000")
    }

    @Test("What is rolled back is not kept")
    func answersRolledBack() throws {
        let writer = try open().makeWriter()
        try writer.begin(now: 1, clockBound: nil)
        let operation = OperationID(op: [0x61], bearer: [])
        try writer.put(KeptAnswer(operation, answeredAt: 1, text: [0x31]))
        #expect(try writer.answer(to: operation, since: 0) == [0x31])
        writer.rollback()
        #expect(try writer.answer(to: operation, since: 0) == nil)
    }

    @Test("What ends with a connection is found, and claims with a time are not")
    func connectionBound() throws {
        let writer = try open().makeWriter()
        try put(
            writer, now: 1, stored("claim", "1", revision: 1, binding: .claim),
            stored("until", "1", revision: 2, binding: .claimUntilDisconnect),
            stored("here", "1", revision: 3, binding: .presence))
        #expect(try keys(writer.connectionBound(limit: 9)) == ["until", "here"])
    }

    @Test("Tombstones are collected when commit and stamp are both old, and what was greatest is kept for good")
    func collection() throws {
        do {
            let writer = try open().makeWriter()
            // An expired 30-day time to live has an old stamp on its first day as a tombstone.
            try put(writer, now: 100, stored("new commit", nil, revision: 1, at: 10))
            try put(
                writer, now: 20, stored("old", nil, revision: 2, at: 20, fence: 77),
                stored("value", "1", revision: 3, at: 5),
                stored("new stamp", nil, revision: 4, at: 200))
            try writer.begin(now: 200, clockBound: nil)
            let collected = try writer.collect(before: 50, limit: 9)
            try writer.commit()
            #expect(collected.keys.map(\.description) == ["old"])
            #expect(collected.revision == 2 && collected.stamp == Stamp(milliseconds: 20) && collected.fence == 77)
            #expect(try writer.current(of: Key("old")) == nil)
            #expect(try writer.current(of: Key("new commit")) != nil)
        }
        let state = try open().state
        #expect(state.collectedRevision == 2 && state.collectedStamp == Stamp(milliseconds: 20))
        #expect(state.collectedFence == 77 && state.head == 4)
    }

    @Test("When the latest change itself is collected, the head stays where it was")
    func headCollected() throws {
        let writer = try open().makeWriter()
        try put(writer, now: 1, stored("a", "1", revision: 1), stored("b", nil, revision: 2))
        try writer.begin(now: 200, clockBound: nil)
        _ = try writer.collect(before: 100, limit: 9)
        try writer.commit()
        #expect(try writer.state().head == 2)
    }

    @Test(
        "Whatever part of the log a crash leaves, torn or with garbage behind it, is some commits whole, synced ones always",
        arguments: 0..<24 as Range<UInt64>)
    func tornLog(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let writer = try open().makeWriter()
        let log = folder.path("a.db-wal")
        func logSize() throws -> Int {
            try FileManager.default.attributesOfItem(atPath: log)[.size] as? Int ?? 0
        }
        // How long the log was after each commit: everything up to there was synced.
        var sizes = [try logSize()]
        var revision: UInt64 = 0
        for commit in 0..<12 {
            try writer.begin(now: 1, clockBound: nil)
            for place in 0..<Int.random(in: 1...4, using: &random) {
                revision += 1
                let value = String(repeating: "\(revision)", count: Int.random(in: 1...2_000, using: &random))
                try writer.put(stored("\(commit):\(place)", value, revision: revision), replacing: nil)
            }
            try writer.put(stored("end:\(commit)", "\(commit)", revision: revision + 1), replacing: nil)
            revision += 1
            try writer.commit()
            sizes.append(try logSize())
        }
        let image = try Data(contentsOf: URL(filePath: log))
        let kept = Int.random(in: sizes[0]...image.count, using: &random)
        var torn = image.prefix(kept)
        if Bool.random(using: &random) {
            torn += (0..<Int.random(in: 1...5_000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
            }
        }
        try FileManager.default.copyItem(atPath: folder.path("a.db"), toPath: folder.path("b.db"))
        try torn.write(to: folder.url.appending(path: "b.db-wal"))

        let survivor = try open("b.db").makeWriter()
        let synced = sizes.dropFirst().count { $0 <= kept }
        for commit in 0..<12 {
            let hasEnd = try survivor.current(of: Key("end:\(commit)")) != nil
            let hasStart = try survivor.current(of: Key("\(commit):0")) != nil
            #expect(hasEnd == hasStart, "seed \(seed): commit \(commit) is there in part")
            #expect(hasEnd == (commit < synced), "seed \(seed): commit \(commit) of \(synced)")
        }
    }
}
