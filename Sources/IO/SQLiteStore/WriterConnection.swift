import GRDBSQLite
import SyncEngine

/// The connection that registers are written through.
final class WriterConnection {
    let handle: OpaquePointer
    private let log: Log
    private let isBuffered: Bool

    /// What SQLite's hook, a C function, writes to.
    private final class Log {
        var pages: Int32 = 0
    }

    init(_ path: String, _ durability: Durability) throws(StoreError) {
        var handle: OpaquePointer?
        // Where a commit does not sync the log, nothing would say when what is in the buffer has to be in the file.
        let isBuffered = durability == .commit && LogBuffer.register() == SQLITE_OK
        let code = sqlite3_open_v2(
            path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, isBuffered ? LogBuffer.name : nil)
        guard code == SQLITE_OK, let handle else {
            sqlite3_close(handle)
            throw StoreError("cannot open \(path) for writing: \(String(cString: sqlite3_errstr(code)))", code: code)
        }
        self.handle = handle
        self.isBuffered = isBuffered
        log = Log()
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 5_000)
        try execute("PRAGMA synchronous = \(durability == .commit ? "FULL" : "NORMAL")")
        try assertDurability(durability)
        // In the place of SQLite's own hook, which would checkpoint in the middle of a commit.
        sqlite3_wal_hook(
            handle,
            { context, _, _, pages in
                if let context { Unmanaged<Log>.fromOpaque(context).takeUnretainedValue().pages = pages }
                return SQLITE_OK
            }, Unmanaged.passUnretained(log).toOpaque())
    }

    deinit {
        sqlite3_wal_hook(handle, nil, nil)
        // Statements may be finalized after this: SQLite closes behind the last one.
        sqlite3_close_v2(handle)
    }

    /// The pages in the write-ahead log after the last commit.
    var logPages: Int { Int(log.pages) }

    /// A transaction was rolled back.
    func rolledBack() {
        if isBuffered { LogBuffer.discard(of: handle) }
    }

    func execute(_ sql: String) throws(StoreError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw StoreError.sqlite(code, on: handle, doing: sql) }
    }

    /// Makes sure that what was asked for is what SQLite does: a lesser durability must never go unnoticed.
    private func assertDurability(_ durability: Durability) throws(StoreError) {
        let synchronous = try pragma("synchronous")
        let journal = try pragma("journal_mode")
        let wanted = durability == .commit ? "2" : "1"
        guard synchronous == wanted, journal == "wal" else {
            throw StoreError(
                "SQLite has synchronous = \(synchronous), journal_mode = \(journal) where \(wanted) and wal are needed")
        }
    }

    private func pragma(_ name: String) throws(StoreError) -> String {
        let statement = try Statement("PRAGMA \(name)", on: handle)
        guard try statement.step() else { return "" }
        return String(decoding: statement.bytes(0) ?? [], as: UTF8.self)
    }
}
