import Foundation
import GRDB
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import Synchronization
import TestSupport
import Testing

/// The write-ahead log as others see it: what a commit said is in it is there for every other connection, and it does not
/// grow without end.
struct WriteAheadLogTests {
    private let folder: TemporaryFolder
    private let database: SQLiteDatabase
    private let writer: SQLiteWriter

    init() throws {
        folder = try TemporaryFolder()
        var random = SeededGenerator(seed: 1)
        database = try SQLiteDatabase(.init(path: folder.path("a.db"), durability: .commit), now: 0, random: &random)
        writer = try database.makeWriter()
    }

    private func put(
        _ key: String, size: Int, revision: UInt64, replacing: UInt64? = nil, row: UInt64? = nil
    ) throws {
        let register = Register(
            key: try Key(key), version: Version(stamp: Stamp(milliseconds: revision), agent: try Agent("a")),
            value: Array("\"\(String(repeating: "x", count: size))\"".utf8))
        try writer.put(
            StoredRegister(register, revision: Revision(revision), row: row.map { RowID($0) }),
            replacing: replacing.map { Revision($0) })
    }

    private func size(_ name: String) throws -> Int {
        try Data(contentsOf: folder.url.appending(path: name)).count
    }

    /// What a process of its own sees of the database.
    private func askSQLite(_ sql: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["sqlite3", folder.path("a.db"), sql]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @Test("Other processes see each commit whole, whatever its size, also one that does not fit SQLite's page cache")
    func visible() throws {
        var revision: UInt64 = 0
        for (rows, size) in [(1, 1), (16, 100), (300, 300), (3, 200_000), (400, 20_000), (1, 1)] {
            try writer.begin(now: 1, clockBound: nil)
            for row in 0..<rows {
                revision += 1
                try put("\(rows):\(size):\(revision):\(row)", size: size, revision: revision)
            }
            #expect(
                try askSQLite("SELECT max(revision) FROM register")
                    == (revision == UInt64(rows) ? "" : "\(revision - UInt64(rows))"))
            try writer.commit()
            #expect(try askSQLite("SELECT count(*), max(revision) FROM register") == "\(revision)|\(revision)")
        }
        #expect(try askSQLite("PRAGMA integrity_check") == "ok")
    }

    @Test("What was rolled back after it reached the log's file is not in the database")
    func rolledBack() throws {
        try writer.begin(now: 1, clockBound: nil)
        try put("kept", size: 10, revision: 1)
        try writer.commit()
        try writer.begin(now: 1, clockBound: nil)
        for row in 2..<402 { try put("gone:\(row)", size: 20_000, revision: UInt64(row)) }
        writer.rollback()
        try writer.begin(now: 1, clockBound: nil)
        try put("also kept", size: 10, revision: 2)
        try writer.commit()
        #expect(
            try askSQLite("SELECT group_concat(key) FROM (SELECT key FROM register ORDER BY revision)")
                == "kept,also kept")
        #expect(try askSQLite("PRAGMA integrity_check") == "ok")
    }

    @Test("A log that was checkpointed to its end is written from its start again: its file stops growing")
    func wraps() throws {
        let checkpointer = try Checkpointer(database)
        var revision: UInt64 = 0
        func commit() throws {
            try writer.begin(now: 1, clockBound: nil)
            for _ in 0..<8 {
                revision += 1
                try put(
                    "k:\(revision % 100)", size: 100, revision: revision,
                    replacing: revision > 100 ? revision - 100 : nil, row: (revision - 1) % 100 + 1)
            }
            try writer.commit()
        }
        var sizes: [Int] = []
        for _ in 0..<6 {
            while writer.logPages < 400 { try commit() }
            // What is written behind the checkpoint is left for the writer.
            #expect(try checkpointer.moveMost())
            #expect(database.log.left == 0)
            try commit()
            #expect(database.log.left > 0)
            try writer.finishCheckpoint()
            #expect(database.log.left == 0)
            try commit()
            #expect(writer.logPages < 100)
            sizes.append(try size("a.db-wal"))
            #expect(database.log.left == writer.logPages)
        }
        #expect(Set(sizes.dropFirst()).count == 1, "\(sizes)")
        #expect(try askSQLite("PRAGMA integrity_check") == "ok")
        checkpointer.close()
    }

    @Test("A reader that needs the log keeps it from being written over, and sees what it saw")
    func reader() throws {
        try writer.begin(now: 1, clockBound: nil)
        for revision in 1...50 { try put("k:\(revision)", size: 100, revision: UInt64(revision)) }
        try writer.commit()
        let checkpointer = try Checkpointer(database)
        try DatabasePool(path: folder.path("a.db")).read { connection in
            #expect(try Int.fetchOne(connection, sql: "SELECT count(*) FROM register") == 50)
            try writer.begin(now: 1, clockBound: nil)
            try put("new", size: 100, revision: 51)
            try writer.commit()
            _ = try checkpointer.moveMost()
            #expect(database.log.left > 0)
            try writer.finishCheckpoint()
            #expect(database.log.left > 0)
            try writer.begin(now: 1, clockBound: nil)
            try put("newer", size: 100, revision: 52)
            try writer.commit()
            #expect(try Int.fetchOne(connection, sql: "SELECT count(*) FROM register") == 50)
        }
        #expect(try askSQLite("SELECT count(*) FROM register") == "52")
        checkpointer.close()
    }

    @Test(
        "A log that is in the database already is not checkpointed again: SQLite can lose the commit that starts it over"
    )
    func noneOnFinished() throws {
        let checkpointer = try Checkpointer(database)
        for revision in 1...3 {
            try writer.begin(now: 1, clockBound: nil)
            try put("k:\(revision)", size: 100, revision: UInt64(revision))
            try writer.commit()
            #expect(try checkpointer.moveMost())
            let count = checkpointer.count
            #expect(count > 0)
            for _ in 0..<3 { #expect(try checkpointer.moveMost()) }
            try writer.finishCheckpoint()
            #expect(try checkpointer.moveMost())
            #expect(checkpointer.count == count)
        }
        checkpointer.close()
    }

    @Test("While commits go on beside them, checkpoints lose nothing, and say what is left of the log as it is then")
    func beside() throws {
        let checkpointer = try Checkpointer(database)
        let isDone = Atomic(false)
        let most = Atomic(0)
        nonisolated(unsafe) let beside = checkpointer
        let log = database.log
        let thread = Thread {
            while !isDone.load(ordering: .relaxed) {
                _ = try? beside.moveMost()
                most.store(max(most.load(ordering: .relaxed), log.left), ordering: .relaxed)
            }
            isDone.store(false, ordering: .releasing)
        }
        thread.start()
        for revision in 1...2_000 as ClosedRange<UInt64> {
            try writer.begin(now: 1, clockBound: nil)
            try put("k:\(revision)", size: 3_000, revision: revision)
            try writer.commit()
            if revision % 100 == 0 { try writer.finishCheckpoint() }
        }
        isDone.store(true, ordering: .relaxed)
        while isDone.load(ordering: .acquiring) { Thread.sleep(forTimeInterval: 0.001) }
        // Pages were written during checkpoints, and seen.
        #expect(most.load(ordering: .relaxed) > 0)
        #expect(try askSQLite("SELECT count(*), max(revision) FROM register") == "2000|2000")
        #expect(try afterCrash("SELECT count(*) FROM register") == "2000")
        #expect(try askSQLite("PRAGMA integrity_check") == "ok")
        checkpointer.close()
    }

    /// What somebody sees who opens the files as they are now, after a crash: the index of the log is not among them.
    private func afterCrash(_ sql: String) throws -> String {
        let copy = try TemporaryFolder()
        for name in ["a.db", "a.db-wal"] {
            try FileManager.default.copyItem(
                at: folder.url.appending(path: name), to: copy.url.appending(path: name))
        }
        return try DatabaseQueue(path: copy.path("a.db")).read { try String.fetchOne($0, sql: sql) ?? "" }
    }

    @Test(
        "What another connection commits after a rollback stays, whatever the rolled back transaction had begun to write",
        arguments: Array(stride(from: 464, through: 500, by: 4)), [false, true])
    func rollbackThenOther(rows: Int, isClosed: Bool) throws {
        var writer: SQLiteWriter? = try database.makeWriter()
        func put(_ range: ClosedRange<Int>, anew isNew: Bool = true) throws {
            for row in range {
                let register = Register(
                    key: try Key("k:\(row)"),
                    version: Version(stamp: Stamp(milliseconds: UInt64(row)), agent: try Agent("a")),
                    value: Array("\"\(String(repeating: "x", count: 3_000))\"".utf8))
                try writer?.put(
                    StoredRegister(
                        register, revision: Revision(UInt64(isNew ? row : row + 600)), row: RowID(UInt64(row))),
                    replacing: isNew ? nil : Revision(UInt64(row)))
            }
        }
        try writer?.begin(now: 1, clockBound: nil)
        try put(1...600)
        try writer?.commit()
        try writer?.finishCheckpoint()
        // This transaction is the first one in a log that starts over.
        try writer?.begin(now: 1, clockBound: nil)
        try put(1...rows, anew: false)
        writer?.rollback()
        let other = try DatabaseQueue(path: folder.path("a.db"))
        for number in 1...5 {
            try other.write { database in
                try database.execute(sql: "INSERT INTO meta VALUES ('other \(number)', '')")
            }
        }
        if isClosed {
            writer = nil
        } else {
            try writer?.begin(now: 1, clockBound: nil)
            try put(2_000...2_000)
            try writer?.commit()
        }
        let count = "SELECT count(*) FROM meta WHERE name LIKE 'other %'"
        #expect(try askSQLite(count) == "5")
        #expect(try afterCrash(count) == "5")
        #expect(try afterCrash("SELECT max(revision) FROM register") == (isClosed ? "600" : "2000"))
        #expect(try afterCrash("PRAGMA integrity_check") == "ok")
        withExtendedLifetime(other) {}
    }
}
