import GRDB
import GRDBSQLite
package import Registers
package import SyncEngine
package import SyncProtocol
import Synchronization

/// The writing side of a database, on the C API of GRDB's one writing connection. GRDB is not told: while a writer is in
/// use, nothing else may write through the pool.
package final class SQLiteWriter: WriteStore {
    /// From so many pages in the write-ahead log on, it is worth a checkpoint.
    package static let checkpointPages = 1_000
    /// From so many pages on (256 MiB), the writer itself checkpoints, and writes wait: the checkpoints beside it do not
    /// keep up.
    private static let restartPages = 65_536

    private let connection: OpaquePointer
    /// Keeps the connection open.
    private let database: SQLiteDatabase
    private let begin: Statement
    private let commitStatement: Statement
    private let rollbackStatement: Statement
    private let select: Statement
    private let insert: Statement
    private let update: Statement
    private let raise: Statement
    private var now: UInt64 = 0
    /// A bound that waits for a commit of its own, in ``Durability/os``.
    private var pendingBound: Stamp?
    /// The pages in the write-ahead log after the last commit.
    package private(set) var logPages = 0
    private let hook: LogHook

    /// What SQLite's hook, a C function, writes to.
    private final class LogHook {
        var pages: Int32 = 0
    }

    init(connection: OpaquePointer, database: SQLiteDatabase) throws(StoreError) {
        self.connection = connection
        self.database = database
        begin = try Statement("BEGIN IMMEDIATE", on: connection)
        commitStatement = try Statement("COMMIT", on: connection)
        rollbackStatement = try Statement("ROLLBACK", on: connection)
        let columns = Schema.registerColumns
        select = try Statement("SELECT \(columns) FROM register WHERE key = ?1", on: connection)
        insert = try Statement(
            "INSERT INTO register (\(columns), committed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            on: connection)
        update = try Statement(
            """
            UPDATE register SET revision = ?1, key = ?2, version = ?3, value = ?4, expires_at = ?5, metadata = ?6, \
            session = ?7, op = ?8, cause = ?9, committed_at = ?10 WHERE revision = ?11
            """, on: connection)
        raise = try Statement(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            on: connection)
        hook = LogHook()
        sqlite3_wal_hook(
            connection,
            { context, _, _, pages in
                if let context { Unmanaged<LogHook>.fromOpaque(context).takeUnretainedValue().pages = pages }
                return SQLITE_OK
            }, Unmanaged.passUnretained(hook).toOpaque())
    }

    deinit {
        sqlite3_wal_hook(connection, nil, nil)
    }

    package func state() throws(StoreError) -> StoreState {
        do {
            return try database.pool.read { try Meta.state($0) }
        } catch {
            throw StoreError("\(error)")
        }
    }

    package func begin(now: UInt64) throws(StoreError) {
        self.now = now
        pendingBound = nil
        try begin.run()
    }

    package func current(of key: Key) throws(StoreError) -> StoredRegister? {
        defer { select.reset() }
        select.bind(key.bytes, at: 1)
        return try select.step() ? try select.register() : nil
    }

    package func put(_ stored: StoredRegister, replacing: UInt64?) throws(StoreError) {
        let statement = replacing == nil ? insert : update
        let register = stored.register
        statement.bind(Int64(stored.revision), at: 1)
        statement.bind(register.key.bytes, at: 2)
        statement.bind(register.version.bytes, at: 3)
        statement.bind(register.value, at: 4)
        statement.bind(register.expiresAt.map { Int64($0) }, at: 5)
        statement.bind(register.metadata, at: 6)
        statement.bind(register.session, at: 7)
        statement.bind(stored.op, at: 8)
        statement.bind(register.cause.map { Array($0.rawValue.utf8) }, at: 9)
        statement.bind(Int64(now), at: 10)
        if let replacing { statement.bind(Int64(replacing), at: 11) }
        try statement.run()
        if sqlite3_changes(connection) != 1 {
            throw StoreError("revision \(replacing ?? 0) of \(register.key) is not in the database", code: SQLITE_CORRUPT)
        }
    }

    package func raiseClockBound(to bound: Stamp) throws(StoreError) {
        switch database.configuration.durability {
        case .commit: try writeClockBound(bound)
        case .os: pendingBound = bound
        }
    }

    private func writeClockBound(_ bound: Stamp) throws(StoreError) {
        raise.bind(Array(Meta.Name.clockBound.rawValue.utf8), at: 1)
        raise.bind(Array(Meta.hex(bound).utf8), at: 2)
        try raise.run()
    }

    package func commit() throws(StoreError) {
        try commitStatement.run()
        if let bound = pendingBound { try commitClockBound(bound) }
        logPages = Int(hook.pages)
        if logPages >= Self.restartPages {
            // Failing to is no failure of the commit, and is tried again after the next one.
            sqlite3_wal_checkpoint_v2(connection, nil, SQLITE_CHECKPOINT_RESTART, nil, nil)
        }
    }

    /// Commits the clock's bound with an fsync of its own, which the other commits go without.
    private func commitClockBound(_ bound: Stamp) throws(StoreError) {
        pendingBound = nil
        sqlite3_exec(connection, "PRAGMA synchronous = FULL", nil, nil, nil)
        defer { sqlite3_exec(connection, "PRAGMA synchronous = NORMAL", nil, nil, nil) }
        try begin.run()
        try writeClockBound(bound)
        try commitStatement.run()
    }

    package func rollback() {
        pendingBound = nil
        if sqlite3_get_autocommit(connection) == 0 { try? rollbackStatement.run() }
    }
}
