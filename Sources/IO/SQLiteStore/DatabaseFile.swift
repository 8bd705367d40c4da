import Foundation
import GRDB
import GRDBSQLite
package import Registers
package import SyncEngine

/// A database as a file: copied, restored, read and checked from outside of a server. Reading works beside a running
/// server; what changes the file wants it to itself.
package struct DatabaseFile: Sendable {
    package let path: String
    /// What its values are decrypted by; nil: they are not encrypted.
    package let cipher: ValueCipher?

    package init(_ path: String, cipher: ValueCipher? = nil) {
        self.path = path
        self.cipher = cipher
    }

    /// How far a copy has got, in bytes.
    package typealias Progress = (_ done: Int, _ total: Int) throws -> Void

    private static let pageSize = 4_096

    // MARK: Copies

    /// Copies the database as it is now to another file, by SQLite's backup API, out of one read transaction: writers go on
    /// meanwhile, and the copy has nothing of what they do. The copy appears when it is whole and synced.
    ///
    /// - Throws: ``StoreError``; also when there is a file in the place of the copy.
    package func backup(to copy: String, progress: Progress = { _, _ in }) throws(StoreError) {
        if FileManager.default.fileExists(atPath: copy) {
            throw StoreError("\(copy) is there already; choose another file, or remove it")
        }
        let partial = copy + ".partial"
        Self.remove(partial)
        do {
            let source = try open().queue
            try Self.copyPages(of: source, to: partial, progress)
            try source.close()
            try Self.checkWhole(partial)
            try Self.rename(partial, to: copy)
        } catch {
            Self.remove(partial)
            throw StoreError("cannot back up \(path) to \(copy): \(Self.describe(error))")
        }
    }

    /// Puts a copy of `backup` in the place of this database, with a new epoch: cursors of the time after the backup must
    /// not be taken for cursors of what comes now. The clock steps past all stamps that may have been seen.
    ///
    /// - Parameters:
    ///   - replaces: whether there may be a database already; it is kept beside, under a name of its own.
    ///   - now: the wall clock, in milliseconds.
    /// - Returns: where the database that was there is kept; nil when there was none.
    /// - Throws: ``StoreError``, among others when a server has the database open.
    package func restore(
        from backup: DatabaseFile, replaces: Bool, now: WallTime, maximumDrift: UInt64 = 60_000,
        random: inout some RandomNumberGenerator, progress: Progress = { _, _ in }
    ) throws(StoreError) -> String? {
        let files = FileManager.default
        if files.fileExists(atPath: path), !replaces {
            throw StoreError("\(path) is there already; say --force to put it aside")
        }
        guard files.fileExists(atPath: backup.path) else { throw StoreError("there is no \(backup.path)") }
        let lock = try DatabaseLock(path, creates: false)
        defer { lock.release() }
        // Where the path is a link, it goes on being one.
        let place = lock.path
        let partial = place + ".partial"
        Self.remove(partial)
        do {
            let source = try backup.open().queue
            try Self.copyPages(of: source, to: partial, progress)
            try source.close()
            try Self.checkWhole(partial)
            try DatabaseFile(partial, cipher: cipher).checkKeys()
            // Stamps and fences of the database that is replaced have been seen too.
            let replaced = try? open().read { try Meta.state($0, $1).clockBound }
            let bound = max(replaced ?? .zero, Stamp(milliseconds: (now + maximumDrift + 1).milliseconds))
            try Self.startAnew(partial, epoch: Epoch(random.next()), clockBound: bound)
            let aside = try Self.putAside(place)
            try Self.rename(partial, to: place)
            return aside
        } catch {
            Self.remove(partial)
            throw StoreError("cannot restore \(path) from \(backup.path): \(Self.describe(error))")
        }
    }

    private static func copyPages(of source: some DatabaseReader, to copy: String, _ progress: Progress) throws {
        let target = try DatabaseQueue(path: copy)
        try withoutActuallyEscaping(progress) { progress in
            try source.read { from in
                // The read transaction begins here: without one, each write of a server would start the copy over.
                if try RowMigration.isUnderWay(from) { throw StoreError("its rows are being moved to a newer layout") }
                try target.writeWithoutTransaction { to in
                    try from.backup(to: to, pagesPerStep: 1_024) { step in
                        try progress(step.completedPageCount * pageSize, step.totalPageCount * pageSize)
                    }
                    // One file, without a log beside it; a server turns that on again.
                    try to.execute(sql: "PRAGMA journal_mode = DELETE")
                }
            }
        }
        try target.close()
    }

    /// Copies a database that is about to be changed so that no earlier version can open it.
    ///
    /// - Parameters:
    ///   - change: what it is about to be changed by: a migration's name.
    ///   - progress: what it throws ends the copy.
    /// - Returns: the copy's path, which nothing had before.
    static func keepCopy(
        of database: some DatabaseReader, at path: String, for change: String, progress: Progress
    ) throws -> String {
        let partial = path + ".partial"
        remove(partial)
        do {
            try makeFile(partial, like: path)
            try copyPages(of: database, to: partial, progress)
            try checkWhole(partial)
            let copy = freeName(path + ".before-" + change.prefix { $0 != ":" })
            try rename(partial, to: copy)
            return copy
        } catch {
            remove(partial)
            throw StoreError(
                "its rows are to be moved to a newer layout, and no copy of it could be made before: \(describe(error)). Nothing was changed "
                    + "('starling check' says what is wrong with a database)")
        }
    }

    /// Makes an empty file that whoever may not read another one may not read either.
    private static func makeFile(_ path: String, like other: String) throws {
        var found = stat()
        guard stat(other, &found) == 0 else { throw StoreError(String(cString: strerror(errno))) }
        let file = Foundation.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw StoreError("cannot create \(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        // Who is not root gives nothing away; then it is of who runs this, as the database's log is.
        _ = fchown(file, found.st_uid, found.st_gid)
        guard fchmod(file, found.st_mode & 0o777) == 0 else { throw StoreError(String(cString: strerror(errno))) }
    }

    /// A name that neither a database nor anything of one has: this one, or with a number behind it.
    private static func freeName(_ name: String) -> String {
        var free = name
        var number = 1
        while suffixes.contains(where: { FileManager.default.fileExists(atPath: free + $0) }) {
            number += 1
            free = "\(name)-\(number)"
        }
        return free
    }

    /// Makes sure that a copy is not one of damage.
    private static func checkWhole(_ path: String) throws {
        let queue = try DatabaseQueue(path: path)
        let complaint: String?
        do {
            complaint = try queue.unsafeRead {
                try String.fetchAll($0, sql: "PRAGMA quick_check(1)").joined(separator: " ").replacing("\n", with: " ")
            }
        } catch {
            complaint = describe(error)
        }
        try queue.close()
        if complaint != "ok" { throw StoreError("it is damaged: \(complaint ?? "it cannot be read")") }
    }

    private static func startAnew(_ path: String, epoch: Epoch, clockBound: Stamp) throws {
        let queue = try DatabaseQueue(path: path)
        try Schema.migrator.migrate(queue)
        try RowMigration.run(queue)
        try queue.writeWithoutTransaction { database in
            try database.execute(sql: "PRAGMA synchronous = FULL")
            try Meta.startAnew(database, epoch: epoch, clockBound: clockBound)
        }
        try queue.close()
    }

    /// What belongs to a database: itself, its log, the index of that, and what an interrupted change in the other mode leaves. SQLite
    /// takes whatever has these names for that of the database that it finds.
    private static let suffixes = ["", "-wal", "-shm", "-journal"]

    /// Puts aside what is in the place of a database: also a log that is left of one that is not there any more.
    ///
    /// - Returns: the name under which it is kept, which nothing had before; nil where there is nothing.
    private static func putAside(_ path: String) throws -> String? {
        let files = FileManager.default
        let found = suffixes.filter { files.fileExists(atPath: path + $0) }
        if found.isEmpty { return nil }
        let aside = freeName(path + ".before-restore")
        // The database first: a log without one is noticed, a database without its log is not.
        for suffix in found { try files.moveItem(atPath: path + suffix, toPath: aside + suffix) }
        return aside
    }

    /// Makes sure that the keys are there, if there are any, before a server finds out.
    private func checkKeys() throws {
        guard cipher != nil else { return }
        let file = try open()
        _ = try file.read { database, _ in try Meta.seal(forReading: database, cipher, path: path) }
        try file.queue.close()
    }

    /// Renames a finished file, and makes sure that the name is on the disk.
    private static func rename(_ from: String, to: String) throws {
        for suffix in ["-wal", "-shm"] { try? FileManager.default.removeItem(atPath: from + suffix) }
        let file = Foundation.open(from, O_RDONLY)
        fsync(file)
        close(file)
        guard Foundation.rename(from, to) == 0 else { throw StoreError(String(cString: strerror(errno))) }
        let folder = Foundation.open(URL(filePath: to).deletingLastPathComponent().path, O_RDONLY)
        fsync(folder)
        close(folder)
    }

    private static func remove(_ path: String) {
        for suffix in suffixes { try? FileManager.default.removeItem(atPath: path + suffix) }
    }

    // MARK: Reading

    /// A file that is open to be read.
    struct Opened {
        let queue: DatabaseQueue
        let layout: Schema.Layout

        func read<Result>(_ body: (Database, Schema.Layout) throws -> Result) throws -> Result {
            try queue.read { try body($0, layout) }
        }
    }

    func open() throws -> Opened {
        guard FileManager.default.fileExists(atPath: path) else { throw StoreError("there is no such file") }
        var settings = GRDB.Configuration()
        settings.label = "starling tool"
        settings.readonly = true
        settings.busyMode = .timeout(5)
        let queue = try DatabaseQueue(path: path, configuration: settings)
        let layout = try queue.read { database in
            let isOurs = try database.tableExists("register") && database.tableExists("meta")
            if !isOurs { throw StoreError("it is no database of starling's") }
            return try Schema.layout(database)
        }
        return Opened(queue: queue, layout: layout)
    }

    /// Reads all registers in the order of their keys, tombstones too, in one transaction.
    ///
    /// - Parameter body: is given each; what it throws ends the reading.
    package func forEachRegister(_ body: (StoredRegister) throws -> Void) throws {
        do {
            let file = try open()
            try withoutActuallyEscaping(body) { body in
                try file.read { database, layout in
                    let statement = try database.cachedStatement(
                        sql: "SELECT \(layout.registerColumns) FROM register ORDER BY key")
                    let rows = RowReader(statement, seal: try Meta.seal(forReading: database, cipher, path: path))
                    defer { rows.reset() }
                    while let stored = try rows.next() { try body(stored) }
                }
            }
            try file.queue.close()
        } catch let error as StoreError {
            throw StoreError("cannot read \(path): \(error)")
        } catch let error as DatabaseError {
            throw StoreError("cannot read \(path): \(Self.describe(error))")
        }
    }

    /// What is to be said of a database that is read with keys, and need not be what was written by who has them; nil: nothing.
    package func caveat() throws(StoreError) -> String? {
        guard cipher != nil else { return nil }
        do {
            let file = try open()
            let accepts = try file.read { database, _ in
                try Meta.seal(forReading: database, cipher, path: path)?.accepts
            }
            try file.queue.close()
            return switch accepts {
            case .plain: "\(path) is not encrypted, or not yet: what it says can be anybody's"
            case .older: "\(path) is encrypted by an earlier version, which did not vouch for all of a row"
            case .sealed, nil: nil
            }
        } catch {
            throw StoreError("cannot read \(path): \(Self.describe(error))")
        }
    }

    /// How many values are encrypted with each key, by its id; nil stands for those that are not encrypted. Reads all rows.
    package func keyUsage() throws(StoreError) -> [String?: Int] {
        do {
            let file = try open()
            let usage = try file.read { database, _ in
                try Row.fetchAll(
                    database,
                    sql: """
                        SELECT key_id, count(*) FROM register
                        WHERE value IS NOT NULL OR metadata IS NOT NULL OR sealed IS NOT NULL GROUP BY key_id
                        """
                ).map { ($0[0] as String?, $0[1] as Int) }
            }
            try file.queue.close()
            return Dictionary(uniqueKeysWithValues: usage)
        } catch {
            throw StoreError("cannot read \(path): \(Self.describe(error))")
        }
    }

    /// Whether a server, or something else that changes it, has the database open.
    package var isInUse: Bool {
        guard FileManager.default.fileExists(atPath: path) else { return false }
        guard let lock = try? DatabaseLock(path, creates: false) else { return true }
        lock.release()
        return false
    }

    static func describe(_ error: any Error) -> String {
        switch error {
        // A backup has its error from one database and its message from the other, which has none.
        case let error as DatabaseError where error.message == nil || error.message == "not an error":
            String(cString: sqlite3_errstr(error.extendedResultCode.rawValue))
        case let error as DatabaseError: error.message ?? ""
        case let error as CocoaError: error.localizedDescription
        default: "\(error)"
        }
    }
}
