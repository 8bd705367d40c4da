import Foundation
import GRDB
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
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

    private func put(_ key: String, size: Int, revision: UInt64, replacing: UInt64? = nil) throws {
        let register = Register(
            key: try Key(key), version: Version(stamp: Stamp(milliseconds: revision), agent: try Agent("a")),
            value: Array("\"\(String(repeating: "x", count: size))\"".utf8))
        try writer.put(StoredRegister(register, revision: revision), replacing: replacing)
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
                    replacing: revision > 100 ? revision - 100 : nil)
            }
            try writer.commit()
        }
        var sizes: [Int] = []
        for _ in 0..<6 {
            while writer.logPages < 400 { try commit() }
            // Commits go on while the checkpoint is under way, and what they wrote is left for the writer.
            try checkpointer.checkpoint()
            try commit()
            let left = try checkpointer.checkpoint()
            #expect(left <= SQLiteWriter.fewPages)
            try commit()
            writer.finishCheckpoint()
            try commit()
            #expect(writer.logPages < 100)
            sizes.append(try size("a.db-wal"))
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
            #expect(try checkpointer.checkpoint() > 0)
            writer.finishCheckpoint()
            try writer.begin(now: 1, clockBound: nil)
            try put("newer", size: 100, revision: 52)
            try writer.commit()
            #expect(try Int.fetchOne(connection, sql: "SELECT count(*) FROM register") == 50)
        }
        #expect(try askSQLite("SELECT count(*) FROM register") == "52")
        checkpointer.close()
    }
}
