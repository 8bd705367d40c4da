import CSQLiteSettings
import Foundation
import GRDB
package import Registers
package import SyncEngine

/// How much a commit promises.
package enum Durability: String, CaseIterable, Sendable {
    /// What is acknowledged survives a crash of the machine: each commit is fsynced.
    case commit
    /// What is acknowledged survives a crash of this process; a crash of the machine may take the last commits back.
    case os
}

/// Why commits may be gone that somebody has seen.
package enum NewEpochReason: Sendable {
    /// The machine crashed while commits were not fsynced.
    case machineCrashed
    /// The last server did not close the database, and the log that it must have left is not beside it: it was moved or copied without.
    case logIsMissing
}

/// What is done to the rows of an older database, before anybody is served.
package enum Migration: Sendable {
    /// A copy of the database is being made, as it is: so many of its bytes are there.
    case copying(Int, of: Int)
    case copied(to: String)
    /// So many of the rows that were still to be moved have been.
    case moved(Int, of: Int)
}

/// An open database: one file, one server, one writer, several readers.
package final class SQLiteDatabase: Sendable {
    package struct Configuration: Sendable {
        package var path: String
        package var durability: Durability
        /// How far ahead of the wall clock a client's stamp may be, in milliseconds.
        package var maximumDrift: UInt64
        package var readers: Int
        /// The id of the kernel's boot, by which a crash of the machine is told from one of the process; nil if unknown.
        package var bootID: String?
        /// What values are encrypted by; nil: they are not.
        package var cipher: ValueCipher?
        /// Whether rows that are not sealed as a whole are taken for what they say, and sealed: once, when a database that never was
        /// encrypted is to be, or that an earlier version has encrypted.
        package var encryptsPlain = false
        /// How rows of the log that are stale are gathered before they are deleted.
        package var stale = StaleRevisions()

        package init(
            path: String, durability: Durability = .commit, maximumDrift: UInt64 = 60_000, readers: Int = 2,
            bootID: String? = nil, cipher: ValueCipher? = nil
        ) {
            self.cipher = cipher
            self.path = path
            self.durability = durability
            self.maximumDrift = maximumDrift
            self.readers = readers
            self.bootID = bootID
        }
    }

    package let configuration: Configuration
    package let state: StoreState
    /// A name for this database's server, made with the database.
    package let node: String
    /// Why a new epoch was begun, since commits may be gone that were seen; nil: none was.
    package let newEpochReason: NewEpochReason?

    /// Whether no row of the log of revisions was stale when it was opened.
    let logWasSwept: Bool

    /// What rows are sealed by; nil where they are not encrypted.
    let seal: RowSeal?
    /// What the database said of its encryption when it was opened.
    let sealRecord: SealRecord?

    let pool: DatabasePool
    package let log = LogProgress()
    let lock: DatabaseLock

    /// Opens the database at a path, or makes it.
    ///
    /// - Parameters:
    ///   - now: the wall clock, in milliseconds.
    ///   - random: where ids come from.
    ///   - migrating: is told how the rows of an older database get to where they stay. What it throws ends that, and the next time goes on
    ///     with it.
    /// - Throws: ``StoreError`` with a sentence for a person: in use by another server, not a database, too new.
    package init(
        _ configuration: Configuration, now: WallTime, random: inout some RandomNumberGenerator,
        migrating: (Migration) throws -> Void = { _ in }
    ) throws(StoreError) {
        self.configuration = configuration
        _ = Self.settings
        let lock = try DatabaseLock(configuration.path)
        self.lock = lock
        do {
            pool = try Self.open(configuration, at: lock.path, hadLog: lock.hadLog, migrating)
        } catch {
            throw StoreError("cannot open \(configuration.path): \(error)")
        }
        let fresh = Meta.Fresh(
            epoch: Epoch(random.next()), node: String(UInt32.random(in: .min ... .max, using: &random), radix: 16))
        let opened: Meta.Opened
        do {
            opened = try pool.writeWithoutTransaction { database in
                // GRDB relaxes this to NORMAL when it turns WAL on. What is noted at start and stop is fsynced.
                try database.execute(sql: "PRAGMA synchronous = FULL")
                let opened = try Meta.open(database, configuration, fresh: fresh, hadLog: lock.hadLog, now: now)
                // That it is open has to be in the database itself, before anything is promised: whoever finds it without its
                // log is to see that there was one.
                _ = try database.checkpoint(.truncate)
                return opened
            }
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError("cannot read \(configuration.path): \(error)")
        }
        try lock.noteFiles()
        do {
            let sealing = try pool.writeWithoutTransaction {
                try Meta.seal(
                    forWriting: $0, configuration.cipher, path: configuration.path,
                    encryptsPlain: configuration.encryptsPlain)
            }
            seal = sealing?.seal
            sealRecord = sealing?.record
        } catch {
            // Nothing was changed: what was closed stays so.
            if opened.wasClean { try? pool.writeWithoutTransaction { try Meta.write(.isClean, "1", $0) } }
            throw StoreError(reading: error)
        }
        state = opened.state
        node = opened.node
        newEpochReason = opened.newEpochReason
        logWasSwept = opened.logWasSwept
    }

    /// Whether some rows are not encrypted with the current key, in the current format.
    package var needsRekeying: Bool {
        guard let sealRecord, let cipher = configuration.cipher else { return false }
        return sealRecord.accepts != .sealed || sealRecord.keyIDs != [cipher.currentID]
    }

    /// Reads the file of keys again.
    ///
    /// - Returns: whether rows are encrypted with another key from now on.
    /// - Throws: ``StoreError`` where keys are not there that rows are encrypted with, or have other bytes; then everything stays
    ///   as it was.
    package func reloadKeys() throws(StoreError) -> Bool {
        guard let cipher = configuration.cipher else { return false }
        return try cipher.reload { keys throws(StoreError) in
            do {
                try pool.read {
                    _ = try Meta.checkKeys($0, keys, path: configuration.path, keyFile: cipher.path)
                }
            } catch {
                throw StoreError(reading: error)
            }
        }
    }

    /// Of SQLite in this process, made once. Where it is at work already, it stays as it is.
    private static let settings: Void = { _ = starling_count_no_memory() }()

    private static func open(
        _ configuration: Configuration, at path: String, hadLog: Bool, _ migrating: (Migration) throws -> Void
    ) throws -> DatabasePool {
        var settings = GRDB.Configuration()
        settings.label = "starling"
        settings.journalMode = .wal
        settings.maximumReaderCount = configuration.readers
        settings.busyMode = .timeout(5)
        // Starling has none; what somebody keeps beside it is not to be changed by ours.
        settings.foreignKeysEnabled = false
        let pool = try DatabasePool(path: path, configuration: settings)
        let isForeign = try pool.read { database in
            let tables = try String.fetchAll(database, sql: "SELECT name FROM sqlite_master WHERE type = 'table'")
            return !tables.isEmpty && !tables.contains("grdb_migrations")
        }
        if isForeign { throw StoreError("it is no database of starling's, but of something else") }
        let migrator = Schema.migrator
        if try pool.read(migrator.hasBeenSuperseded) {
            throw StoreError("it was written by a newer version of starling; use that one")
        }
        // A start that is refused for its keys has changed nothing.
        if try pool.read(Meta.isThere) {
            try pool.read { try Meta.checkKeys($0, configuration.cipher, path: configuration.path) }
        }
        try refuseAltered(pool)
        // What somebody keeps beside our tables goes on naming them as they are called, and need not be sound.
        try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA legacy_alter_table = ON") }
        if try pool.read({ try RowMigration.isAhead($0, migrator) }) {
            if !hadLog { try pool.write(Meta.noteMissingLog) }
            let copy = try DatabaseFile.keepCopy(of: pool, at: path, for: RowMigration.name) {
                try migrating(.copying($0, of: $1))
            }
            try migrating(.copied(to: copy))
        }
        try migrator.migrate(pool)
        do {
            try RowMigration.run(pool) { try migrating(.moved($0, of: $1)) }
        } catch {
            throw StoreError(
                "its rows are being moved to a newer layout, and that could not go on: \(DatabaseFile.describe(error)). The next start "
                    + "goes on with it; as it was before it is kept beside it, as \(path).before-6 (or -2, -3 and so on)"
            )
        }
        try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA legacy_alter_table = OFF") }
        try refuseAltered(pool)
        return pool
    }

    /// A trigger changes what a write does, and an index that is not as it was finds other rows than those that were asked for.
    private static func refuseAltered(_ pool: DatabasePool) throws {
        let altered = try pool.read { try Schema.differences($0) }.filter { !$0.isBeside }
        if let first = altered.first {
            let more = altered.count > 1 ? " (and \(altered.count - 1) more: starling check)" : ""
            throw StoreError("\(first.text)\(more): somebody has altered it; restore a backup, or undo that")
        }
    }

    /// Makes the one writer, to be used by one thread, and to be gone before ``close(lastStamp:)``.
    package func makeWriter() throws(StoreError) -> SQLiteWriter {
        try SQLiteWriter(self)
    }

    /// Notes a clean shutdown, moves everything into the one file, and closes it. Nobody may be writing or reading.
    ///
    /// - Parameter lastStamp: the greatest stamp issued: the next start goes on right behind it.
    package func close(lastStamp: Stamp) throws(StoreError) {
        defer { lock.release() }
        do throws(StoreError) {
            try lock.checkFiles()
        } catch {
            // SQLite removes its log by name, and what has that name is somebody else's.
            leave()
            throw error
        }
        do {
            try pool.writeWithoutTransaction { database in
                try Meta.close(database, lastStamp: lastStamp)
                do {
                    if log.mayCheckpoint { _ = try database.checkpoint(.truncate) }
                } catch let error as DatabaseError {
                    log.failed(error.extendedResultCode.rawValue)
                }
            }
            if log.mayCheckpoint {
                // The last connection to be closed removes the log, unless it only reads.
                pool.invalidateReadOnlyConnections()
                try pool.close()
            } else {
                leave()
            }
        } catch {
            throw StoreError("cannot close \(configuration.path): \(error)")
        }
    }

    /// Leaves everything as it is, as the end of the process would. The last connection to be closed would move the log, and delete
    /// it: that is left undone.
    package func leave() {
        _ = Unmanaged.passRetained(pool)
        lock.release()
    }
}
