import Foundation
import GRDB
import Registers
import SyncEngine
import TestSupport
import Testing

@testable import SQLiteStore

/// How the rows of an older database get to where they stay.
struct MigrationTests {
    private let folder: TemporaryFolder
    private var path: String { folder.path("a.db") }

    init() throws { folder = try TemporaryFolder() }

    /// Makes a database as it was before rows stayed: 24 rows of half a megabyte, so that they are moved in several portions, and small ones.
    private func makeOlder() throws {
        let queue = try DatabaseQueue(path: path)
        try Schema.migrator.migrate(queue, upTo: "5: answers that are kept")
        try queue.write { database in
            for (name, value) in [
                ("epoch", "00000000000000ab"), ("node", "n"), ("clean", "1"), ("collected_revision", "3"),
                ("clock_bound", "00000fffff000000"),
            ] {
                try database.execute(sql: "INSERT INTO meta VALUES (?1, ?2)", arguments: [name, value])
            }
            for revision in 10..<34 {
                let value = "\"" + String(repeating: "v", count: 1 << 19) + "\""
                try insert(database, revision, "big:\(99 - revision)", value: value)
            }
            try insert(
                database, 40, "small", value: "1",
                more: ("expires_at, session, op, fence, lease", "9999999999999, 's', 'op', 7, 1"))
            try insert(database, 44, "metadata", value: "2", more: ("metadata", "'{\"a\":1}'"))
            try insert(database, 47, "gone", value: nil, more: ("cause", "'expired'"))
        }
        try queue.close()
    }

    private func insert(
        _ database: Database, _ revision: Int, _ key: String, value: String?,
        more: (columns: String, values: String)? = nil
    ) throws {
        let columns = more.map { ", \($0.columns)" } ?? ""
        let values = more.map { ", \($0.values)" } ?? ""
        try database.execute(
            sql: """
                INSERT INTO register (revision, key, version, value, committed_at\(columns))
                VALUES (?1, ?2, ?3, ?4, 1000\(values))
                """,
            arguments: [revision, key, "000000000\(100 + revision)-0000-a", value])
    }

    private func open(_ migrating: (Migration) throws -> Void = { _ in }) throws -> SQLiteDatabase {
        var random = SeededGenerator(seed: 1)
        return try SQLiteDatabase(.init(path: path, bootID: "boot"), now: 1_000, random: &random, migrating: migrating)
    }

    private func registers(_ path: String) throws -> [StoredRegister] {
        var found: [StoredRegister] = []
        try DatabaseFile(path).forEachRegister { found.append($0) }
        return found
    }

    private func changes(_ database: SQLiteDatabase, after revision: Revision) throws -> [StoredRegister] {
        try SQLiteReader(database: database).snapshot { snapshot throws(StoreError) in
            var found: [StoredRegister] = []
            try snapshot.forEachChange(after: revision) {
                found.append($0)
                return true
            }
            return found
        }
    }

    @Test("Rows are moved in portions, and each one, its revision and the head are what they were; a copy is kept")
    func moves() throws {
        try makeOlder()
        chmod(path, 0o640)
        let before = try registers(path)
        var copies: [String] = []
        var portions: [Int] = []
        let database = try open {
            switch $0 {
            case .copying: break
            case .copied(let copy): copies.append(copy)
            case .moved(let done, 27): portions.append(done)
            case .moved(_, let total): Issue.record("\(total) rows")
            }
        }
        #expect(portions == [16, 27])
        #expect(copies == [path + ".before-6"])
        let mode = try FileManager.default.attributesOfItem(atPath: copies[0])[.posixPermissions] as? Int
        #expect(mode == 0o640, "who may not read the database may not read its copy")
        #expect(database.state.head == 47 && database.state.collectedRevision == 3)
        #expect(database.state.epoch == Epoch(0xAB), "who has a cursor goes on from it")
        #expect(try changes(database, after: 0) == before.sorted { $0.revision < $1.revision })
        #expect(try changes(database, after: 40).map(\.register.key.description) == ["metadata", "gone"])
        try database.close(lastStamp: database.state.clockBound)
        #expect(try registers(path) == before)
        #expect(try registers(copies[0]) == before, "the copy is read as it is")
        #expect(try DatabaseFile(path).check().problems == [])
        // Nothing is left to be done.
        let again = try open { _ in Issue.record("moved again") }
        try again.close(lastStamp: again.state.clockBound)
        #expect(try DatabaseFile(path).check().staleRevisions == 0)
    }

    @Test(
        "A move that is broken off after any portion goes on, and until then nothing takes the file for what it is not")
    func goesOn() throws {
        struct Stop: Error {}
        try makeOlder()
        let before = try registers(path)
        for _ in 0..<2 {
            #expect(throws: StoreError.self) { try open { if case .moved = $0 { throw Stop() } } }
            // All are moved after the second time, but nothing is indexed.
            for attempt in [{ try registers(path).count }, { try DatabaseFile(path).check().values }] {
                let error = #expect(throws: StoreError.self) { try attempt() }
                #expect(error?.description.contains("are being moved to a newer layout") == true)
            }
            #expect(throws: StoreError.self) { try DatabaseFile(path).backup(to: folder.path("copy.db")) }
        }
        let database = try open()
        #expect(try changes(database, after: 0) == before.sorted { $0.revision < $1.revision })
        try database.close(lastStamp: database.state.clockBound)
        #expect(try DatabaseFile(path).check().problems == [])
        #expect(try registers(path) == before)
        let copies = try FileManager.default.contentsOfDirectory(atPath: folder.url.path).filter {
            $0.contains("before")
        }
        #expect(copies == ["a.db.before-6"], "one copy, of before anything was moved")
    }

    @Test("That the log of a database was missing is not forgotten when its move is broken off")
    func missingLog() throws {
        struct Stop: Error {}
        try makeOlder()
        try DatabaseQueue(path: path).write { try $0.execute(sql: "UPDATE meta SET value = '0' WHERE name = 'clean'") }
        #expect(throws: StoreError.self) { try open { if case .moved = $0 { throw Stop() } } }
        // What a kill would leave: a log, though not the one that was missing.
        try Data().write(to: folder.url.appending(path: "a.db-wal"))
        let database = try open()
        #expect(database.newEpochReason == .logIsMissing)
        try database.close(lastStamp: database.state.clockBound)
        #expect(try open().newEpochReason == nil)
    }

    @Test("What somebody keeps beside the tables stays as it is, be it sound or not")
    func keepsWhatIsBeside() throws {
        try makeOlder()
        let beside = try DatabaseQueue(path: path)
        try beside.writeWithoutTransaction { database in
            try database.execute(
                sql: """
                    PRAGMA foreign_keys = ON;
                    CREATE TABLE note (revision INTEGER REFERENCES register (revision) ON DELETE CASCADE, text TEXT);
                    INSERT INTO note SELECT revision, 'mine' FROM register;
                    CREATE VIEW mine AS SELECT key FROM register;
                    CREATE VIEW broken AS SELECT * FROM nowhere;
                    """)
        }
        try beside.close()
        let database = try open()
        try database.close(lastStamp: database.state.clockBound)
        let (notes, keys) = try DatabaseQueue(path: path).read { database in
            (
                try Int.fetchOne(database, sql: "SELECT count(*) FROM note"),
                try Int.fetchOne(database, sql: "SELECT count(*) FROM mine")
            )
        }
        #expect(notes == 27 && keys == 27)
    }

    @Test(
        "A database that somebody has altered is refused before anything is done to it",
        arguments: [
            "CREATE TRIGGER t AFTER DELETE ON register BEGIN DELETE FROM meta; END", "DROP INDEX register_lease",
            "CREATE INDEX theirs ON register (op)",
        ])
    func altered(sql: String) throws {
        try makeOlder()
        try DatabaseQueue(path: path).write { try $0.execute(sql: sql) }
        let error = #expect(throws: StoreError.self) { try open { _ in Issue.record("it was begun") } }
        #expect(error?.description.contains("somebody has altered it") == true, "\(String(describing: error))")
        #expect(try DatabaseQueue(path: path).read { try RowMigration.isAhead($0, Schema.migrator) })
    }

    @Test("A start without the keys, and a copy that is broken off, change nothing")
    func changesNothing() throws {
        struct Stop: Error {}
        try makeOlder()
        #expect(throws: StoreError.self) { try open { if case .copying = $0 { throw Stop() } } }
        try DatabaseQueue(path: path).write { try $0.execute(sql: "INSERT INTO meta VALUES ('encryption_keys', 'k')") }
        let error = #expect(throws: StoreError.self) { try open { _ in Issue.record("it was begun") } }
        #expect(error?.description.contains("names the file of keys") == true)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.url.path).allSatisfy {
                $0.hasPrefix("a.db") && !$0.contains("before")
            })
        #expect(try DatabaseQueue(path: path).read { try RowMigration.isAhead($0, Schema.migrator) })
    }

    @Test("A backup of an older database is restored, in the newer layout")
    func restores() throws {
        try makeOlder()
        let before = try registers(path)
        try FileManager.default.moveItem(atPath: path, toPath: folder.path("backup.db"))
        var random = SeededGenerator(seed: 2)
        _ = try DatabaseFile(path).restore(
            from: DatabaseFile(folder.path("backup.db")), replaces: false, now: 1_000, random: &random)
        #expect(try registers(path) == before)
        let again = try open { _ in Issue.record("moved again") }
        try again.close(lastStamp: again.state.clockBound)
        #expect(try DatabaseFile(path).check().problems == [])
    }

    @Test("A database that is damaged stays as it is")
    func damaged() throws {
        try makeOlder()
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.seek(toOffset: 4_096 * 40)
        try file.write(contentsOf: Data(repeating: 0xAA, count: 4_096 * 200))
        try file.close()
        let error = #expect(throws: StoreError.self) { try open() }
        #expect(error?.description.contains("Nothing was changed") == true, "\(String(describing: error))")
        let migrations = try DatabaseQueue(path: path).read {
            try String.fetchAll($0, sql: "SELECT identifier FROM grdb_migrations")
        }
        #expect(migrations.count == 5)
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: folder.url.path).contains { $0.contains("before") }
                == false)
    }
}
