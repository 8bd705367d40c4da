import Foundation
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import TestSupport
import Testing

/// A folder for one test, gone with it.
final class TemporaryFolder {
    let url = FileManager.default.temporaryDirectory.appending(path: "starling-\(UUID().uuidString)")

    init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: url) }

    func path(_ name: String) -> String { url.appending(path: name).path }
}

struct SQLiteDatabaseTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func open(
        _ name: String = "a.db", durability: Durability = .commit, boot: String? = "boot", now: WallTime = 1_000,
        seed: UInt64 = 1
    ) throws -> SQLiteDatabase {
        var random = SeededGenerator(seed: seed)
        return try SQLiteDatabase(
            .init(path: folder.path(name), durability: durability, maximumDrift: 60_000, bootID: boot), now: now,
            random: &random)
    }

    private func put(
        _ writer: SQLiteWriter, _ key: String, _ value: String?, revision: UInt64, replacing: UInt64? = nil
    ) throws {
        let register = Register(
            key: try Key(key), version: Version(stamp: Stamp(milliseconds: revision), agent: try Agent("a")),
            value: value.map { Array($0.utf8) })
        try writer.put(
            StoredRegister(register, revision: Revision(revision)), replacing: replacing.map { Revision($0) })
    }

    @Test("A new database has an epoch, and keeps it")
    func epoch() throws {
        let first = try open(seed: 1)
        let epoch = first.state.epoch
        let node = first.node
        #expect(first.state == StoreState(epoch: epoch, head: 0, clockBound: .zero))
        try first.close(lastStamp: .zero)
        let second = try open(seed: 2)
        #expect(second.state.epoch == epoch && second.node == node)
        try second.close(lastStamp: .zero)
        let other = try open("b.db", seed: 2)
        #expect(other.state.epoch != epoch)
    }

    @Test("Everything of a register comes back, and a change takes the place of the one before")
    func registers() throws {
        let database = try open()
        let writer = try database.makeWriter()
        let register = Register(
            key: try Key("k:é\"'"), version: try Version("018bcfe56800-0001-é"), value: Array(#"{"a":"é"}"#.utf8),
            expiresAt: 5, metadata: Array("{}".utf8), session: Array("s".utf8), cause: .expired)
        let stored = StoredRegister(
            register, revision: 1, op: Array("op".utf8), fence: Fence(1 << 47), binding: .claimUntilDisconnect)
        try writer.begin(now: 1, clockBound: nil)
        try writer.put(stored, replacing: nil)
        #expect(try writer.current(of: register.key) == stored)
        try writer.commit()
        #expect(try writer.current(of: register.key) == stored)
        #expect(try writer.current(of: try Key("other")) == nil)
        var changed = stored
        changed.revision = 7
        changed.register.value = nil
        changed.register.expiresAt = nil
        try writer.begin(now: 2, clockBound: nil)
        try writer.put(changed, replacing: 1)
        try writer.commit()
        #expect(try writer.current(of: register.key) == changed)
        #expect(try writer.state().head == 7)
    }

    @Test("What is rolled back was never there, and replacing what is not there is an error")
    func rollback() throws {
        let writer = try open().makeWriter()
        try writer.begin(now: 1, clockBound: nil)
        try put(writer, "a", "1", revision: 1)
        writer.rollback()
        #expect(try writer.current(of: try Key("a")) == nil)
        try writer.begin(now: 1, clockBound: nil)
        #expect(throws: StoreError.self) { try put(writer, "a", "1", revision: 2, replacing: 9) }
        writer.rollback()
        writer.rollback()
        #expect(try writer.state().head == 0)
    }

    @Test("The clock's bound survives a crash; a clean stop leaves the last stamp")
    func clockBound() throws {
        do {
            let database = try open()
            let writer = try database.makeWriter()
            try writer.begin(now: 1, clockBound: Stamp(milliseconds: 5_000))
            try writer.commit()
            database.leave()
        }
        let second = try open()
        #expect(second.state.clockBound == Stamp(milliseconds: 5_000))
        try second.close(lastStamp: Stamp(milliseconds: 4_000, counter: 3))
        #expect(try open().state.clockBound == Stamp(milliseconds: 4_000, counter: 3))
    }

    @Test("A database in use is refused, and the refusal names the process")
    func inUse() throws {
        let database = try open()
        let error = #expect(throws: StoreError.self) { try open() }
        #expect(
            error?.description.contains("is in use by process \(ProcessInfo.processInfo.processIdentifier)") == true)
        withExtendedLifetime(database) {}
    }

    @Test("What is no database, or no place for one, is refused in a sentence")
    func notADatabase() throws {
        try Data("this is not a database, but it is long enough to be looked at as one".utf8)
            .write(to: folder.url.appending(path: "text.db"))
        #expect(throws: StoreError.self) { try open("text.db") }
        let error = #expect(throws: StoreError.self) { try open("no/such/folder.db") }
        #expect(error?.description.contains("No such file or directory") == true)
    }

    @Test("After a crash of the machine without fsync, a new epoch begins, past all stamps that may have been seen")
    func newEpoch() throws {
        func crash(_ durability: Durability, boot: String?, seed: UInt64 = 1) throws -> Epoch {
            let database = try open(durability: durability, boot: boot, seed: seed)
            defer { database.leave() }
            return database.state.epoch
        }
        let first = try crash(.os, boot: "one")
        // The same boot: only the process crashed, and the kernel has every write.
        let second = try open(durability: .os, boot: "one", seed: 5)
        #expect(second.state.epoch == first && second.newEpochReason == nil)
        try second.close(lastStamp: .zero)
        #expect(try crash(.os, boot: "two", seed: 6) == first)
        let third = try open(durability: .os, boot: "three", now: 9_000, seed: 7)
        #expect(third.state.epoch != first && third.newEpochReason == .machineCrashed)
        #expect(third.state.clockBound == Stamp(milliseconds: 69_001))
    }

    @Test("With fsync, a crash of the machine keeps the epoch")
    func sameEpoch() throws {
        let database = try open(boot: "one")
        let epoch = database.state.epoch
        database.leave()
        #expect(try open(boot: "two", seed: 9).state.epoch == epoch)
    }

    @Test("Both durabilities commit", arguments: Durability.allCases)
    func durabilities(durability: Durability) throws {
        let database = try open(durability: durability)
        let writer = try database.makeWriter()
        try writer.begin(now: 1, clockBound: Stamp(milliseconds: 77))
        try put(writer, "a", "1", revision: 1)
        try writer.commit()
        #expect(try writer.state().clockBound == Stamp(milliseconds: 77))
        #expect(writer.logPages > 0)
        let checkpointer = try Checkpointer(database)
        _ = try checkpointer.moveMost()
        checkpointer.close()
        #expect(try writer.current(of: try Key("a"))?.revision == 1)
    }
}
