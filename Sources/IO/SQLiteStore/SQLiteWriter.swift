package import Access
import GRDB
import GRDBSQLite
package import Registers
package import SyncEngine

/// The writing side of a database, on a connection of its own and SQLite's C API: this is the path that every write
/// takes. (GRDB's connections have hooks on them that want every transaction to be theirs.)
package final class SQLiteWriter: WriteStore {
    /// From so many pages in the write-ahead log on, it is worth a checkpoint.
    package static let checkpointPages = 4_000
    /// Down to so many pages, what checkpoints beside the writer have left is worth its while: see ``finishCheckpoint()``.
    package static let fewPages = 1_000
    /// From so many pages on (256 MiB), the writer itself checkpoints, and writes wait: the checkpoints beside it do not
    /// keep up.
    private static let restartPages = 65_536

    private let database: SQLiteDatabase
    private var log: LogProgress { database.log }
    /// From so many pages on it is tried next.
    private var nextRestart = restartPages
    private let connection: WriterConnection
    private let begin: Statement
    private let commitStatement: Statement
    private let rollbackStatement: Statement
    private let select: Statement
    private let selectOutline: Statement
    private let insert: Statement
    private let update: Statement
    private let selectKeys: Statement
    private let selectLastingKeys: Statement
    let revisions: LogStatements
    let upkeep: UpkeepStatements
    private let answers: AnswerStatements
    private let rekeying: RekeyStatements?
    private let seal: RowSeal?
    private var now: WallTime = 0
    /// The pages in the write-ahead log after the last commit.
    package private(set) var logPages = 0

    init(_ database: SQLiteDatabase) throws(StoreError) {
        self.database = database
        connection = try WriterConnection(database.lock.path, database.configuration.durability)
        let handle = connection.handle
        begin = try Statement("BEGIN IMMEDIATE", on: handle)
        commitStatement = try Statement("COMMIT", on: handle)
        rollbackStatement = try Statement("ROLLBACK", on: handle)
        let columns = Schema.registerColumns
        let seal = database.seal
        self.seal = seal
        select = try Statement("SELECT \(columns) FROM register WHERE key = ?1", on: handle, seal: seal)
        selectOutline = try Statement("SELECT \(Schema.outlineColumns) FROM register WHERE key = ?1", on: handle)
        insert = try Statement(
            """
            INSERT INTO register (revision, key, version, value, expires_at, metadata, session, op, cause, fence, \
            lease, sealed, key_id, committed_at, id) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
            """, on: handle)
        // The index on the key is not touched where the key is not set.
        update = try Statement(
            """
            UPDATE register SET revision = ?1, version = ?3, value = ?4, expires_at = ?5, metadata = ?6, \
            session = ?7, op = ?8, cause = ?9, fence = ?10, lease = ?11, sealed = ?12, key_id = ?13, \
            committed_at = ?14 WHERE id = ?15 AND revision = ?2
            """, on: handle)
        let keysInRange = "SELECT key FROM register WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL"
        selectKeys = try Statement("\(keysInRange) ORDER BY key", on: handle)
        selectLastingKeys = try Statement("\(keysInRange) AND expires_at IS NULL ORDER BY key", on: handle)
        if let seal, let record = database.sealRecord {
            rekeying = try RekeyStatements(on: handle, seal: seal, record: record)
        } else {
            rekeying = nil
        }
        revisions = try LogStatements(
            on: handle, gathering: database.configuration.stale, isSwept: database.logWasSwept,
            head: database.state.head)
        upkeep = try UpkeepStatements(on: handle, seal: seal)
        answers = try AnswerStatements(on: handle, seal: seal)
    }

    package func state() throws(StoreError) -> StoreState {
        try database.lock.checkFiles()
        do {
            return try database.pool.read { try Meta.state($0) }
        } catch {
            throw StoreError(reading: error)
        }
    }

    package func begin(now: WallTime, clockBound: Stamp?) throws(StoreError) {
        self.now = now
        // Before, so that nothing is made of which nobody could be told; and after, where it counts: ``commit()``. Here the log is not to
        // have been cut short either: a transaction would make it as long again, with nothing in between.
        try database.lock.checkFiles()
        if let clockBound, database.configuration.durability == .os { try commitClockBound(clockBound) }
        try begin.run()
        if let clockBound, database.configuration.durability == .commit { try writeClockBound(clockBound) }
    }

    /// Finds out whether the database and its log are still the files that were opened.
    package func checkFiles() throws(StoreError) { try database.lock.checkFiles() }

    /// Commits the clock's bound with an fsync of its own, before anything that rests on it: the other commits have none.
    private func commitClockBound(_ bound: Stamp) throws(StoreError) {
        try connection.execute("PRAGMA synchronous = FULL")
        defer { try? connection.execute("PRAGMA synchronous = NORMAL") }
        try begin.run()
        do throws(StoreError) {
            try writeClockBound(bound)
            try commitStatement.run()
        } catch {
            rollback()
            throw error
        }
    }

    package func current(of key: Key) throws(StoreError) -> StoredRegister? {
        defer { select.reset() }
        select.bind(key, at: 1)
        guard try select.step() else { return nil }
        let stored = try select.register()
        // What the index says and what the row says are two things.
        guard stored.register.key == key else { throw .anotherKey(stored.register.key, than: key) }
        return stored
    }

    package func outline(of key: Key) throws(StoreError) -> StoredRegister? {
        // What is sealed is sealed as a whole.
        if seal != nil { return try current(of: key)?.withoutValue }
        defer { selectOutline.reset() }
        selectOutline.bind(key, at: 1)
        guard try selectOutline.step() else { return nil }
        let stored = try selectOutline.register()
        guard stored.register.key == key else { throw .anotherKey(stored.register.key, than: key) }
        return stored
    }

    package func count(_ filter: Filter) throws(StoreError) -> Int {
        var count = 0
        let matcher = filter.makeMatcher()
        for range in filter.ranges {
            defer { selectKeys.reset() }
            selectKeys.bind(range.start, at: 1)
            // No key has a zero byte: there is none between an exact one and the next.
            selectKeys.bind(range.isExact ? range.start + [0] : SQLiteReader.end(of: range.start), at: 2)
            while try selectKeys.step() {
                if let key = selectKeys.bytes(0), matcher.matches(Key(unchecked: key)) { count += 1 }
            }
        }
        return count
    }

    package func keys(in range: Range<Key>, limit: Int, isLasting: Bool) throws(StoreError) -> [Key] {
        let statement = isLasting ? selectLastingKeys : selectKeys
        defer { statement.reset() }
        statement.bind(range.lowerBound.bytes, at: 1)
        statement.bind(range.upperBound.bytes, at: 2)
        var keys: [Key] = []
        while keys.count < limit, try statement.step() {
            if let key = statement.bytes(0) { keys.append(Key(unchecked: key)) }
        }
        return keys
    }

    package func put(_ stored: StoredRegister, replacing: Revision?) throws(StoreError) {
        let statement = replacing == nil ? insert : update
        let register = stored.register
        statement.bind(stored.revision, at: 1)
        if let replacing { statement.bind(replacing, at: 2) } else { statement.bind(register.key, at: 2) }
        statement.bind(register.version.bytes, at: 3)
        let sealed = try seal?.seal(stored)
        if let sealed { try rekeying?.note(sealed.keyID) }
        if sealed == nil {
            statement.bind(.value, of: register.record, at: 4)
            statement.bind(.metadata, of: register.record, at: 6)
        } else {
            statement.bind(register.isTombstone ? nil : [] as [UInt8], at: 4)
            statement.bind(nil as [UInt8]?, at: 6)
        }
        statement.bind(register.expiresAt, at: 5)
        statement.bind(.session, of: register.record, at: 7)
        statement.bind(.op, of: register.record, at: 8)
        statement.bind(register.cause.map { Array($0.rawValue.utf8) }, at: 9)
        statement.bind(Int64(stored.fence.rawValue), at: 10)
        statement.bind(stored.binding?.rawValue, at: 11)
        statement.bind(blob: sealed?.bytes, at: 12)
        statement.bind(sealed.map { Array($0.keyID.utf8) }, at: 13)
        statement.bind(now, at: 14)
        statement.bind(stored.row, at: 15)
        try statement.run()
        if sqlite3_changes(connection.handle) != 1 {
            throw StoreError(
                "revision \(replacing ?? 0) of \(register.key) is not in the database", code: SQLITE_CORRUPT)
        }
        try revisions.put(stored, replacing: replacing)
    }

    package func answer(to operation: OperationID, since: WallTime) throws(StoreError) -> [UInt8]? {
        try answers.answer(to: operation, since: since)
    }

    package func put(_ answer: KeptAnswer) throws(StoreError) { try answers.put(answer) }

    // MARK: Encryption

    /// Encrypts rows with the current key, in the current format, that are not: in a transaction of its own, without revisions, as nothing
    /// changes that anyone could see.
    ///
    /// - Parameter limit: how many rows to take at once.
    /// - Returns: how many rows were taken; 0: there are no more.
    package func rekey(limit: Int) throws(StoreError) -> Int {
        guard let rekeying else { return 0 }
        return try transact { () throws(StoreError) in
            try rekeying.note(rekeying.currentID)
            // Before the rows, with which it ends that other keys are needed.
            let count = try answers.reseal(limit: limit)
            return count == 0 ? try rekeying.run(limit: limit) : count
        }
    }

    /// Runs `body` in a transaction of its own.
    func transact<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try database.lock.checkFiles()
        try begin.run()
        do throws(StoreError) {
            let result = try body()
            try commitStatement.run()
            noteCommit()
            return result
        } catch {
            rollback()
            throw error
        }
    }

    private func writeClockBound(_ bound: Stamp) throws(StoreError) {
        try upkeep.write(.clockBound, Meta.hex(bound))
    }

    package func expired(at now: WallTime, limit: Int, skipping skipped: Int) throws(StoreError) -> [StoredRegister] {
        try upkeep.expired(at: now, limit: limit, skipping: skipped)
    }

    package func nextExpiry(skipping skipped: Int) throws(StoreError) -> WallTime? {
        try upkeep.nextExpiry(skipping: skipped)
    }

    package func connectionBound(limit: Int) throws(StoreError) -> [StoredRegister] {
        try upkeep.connectionBound(limit: limit)
    }

    package func collect(before cutoff: WallTime, limit: Int) throws(StoreError) -> CollectedTombstones {
        let known = try state()
        try answers.collect(now: now)
        return try upkeep.collect(before: cutoff, limit: limit, known: known)
    }

    package func commit() throws(StoreError) {
        revisions.cleanBeside()
        do throws(StoreError) {
            try commitStatement.run()
        } catch {
            revisions.rolledBack(isUnknown: true)
            throw error
        }
        noteCommit()
        // What was replaced before it is on a disk that nobody will read.
        try database.lock.checkFiles()
        guard logPages >= nextRestart else {
            if logPages < Self.restartPages { nextRestart = Self.restartPages }
            return
        }
        // Failing to is no failure of the commit. Not after each one: a reader that lasts would hold all of them up.
        nextRestart = logPages + Self.restartPages / 8
        try? checkpoint(SQLITE_CHECKPOINT_RESTART)
    }

    private func noteCommit() {
        rekeying?.committed()
        revisions.committed()
        logPages = connection.logPages
        log.written(logPages)
    }

    /// Moves the last pages of the log, which the checkpoints beside this cannot catch while it goes on writing. Nothing is
    /// left then, and the next commit writes over the log from its start: in a file that does not grow, an fdatasync
    /// has no metadata to write, and costs half.
    ///
    /// - Throws: ``StoreError`` where the disk fails: no failure of any commit, but see ``LogProgress/mayCheckpoint``.
    package func finishCheckpoint() throws(StoreError) {
        try checkpoint(SQLITE_CHECKPOINT_PASSIVE)
    }

    private func checkpoint(_ mode: Int32) throws(StoreError) {
        guard log.mayCheckpoint else { return }
        var moved: Int32 = 0
        let code = sqlite3_wal_checkpoint_v2(connection.handle, nil, mode, nil, &moved)
        // Busy: a reader needs the log, or somebody else is at it.
        guard code & 0xFF == SQLITE_OK || code & 0xFF == SQLITE_BUSY else {
            log.failed(code)
            throw .checkpoint(code, String(cString: sqlite3_errmsg(connection.handle)))
        }
        if moved >= 0 { log.moved(Int(moved)) }
    }

    package func rollback() {
        rekeying?.rolledBack()
        revisions.rolledBack(isUnknown: false)
        if sqlite3_get_autocommit(connection.handle) == 0 { try? rollbackStatement.run() }
        connection.rolledBack()
    }
}
