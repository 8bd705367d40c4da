import GRDBSQLite
import Registers
import SyncEngine

/// A prepared statement on one connection, for the paths where every microsecond counts. Belongs to whoever may use the
/// connection.
final class Statement {
    private let handle: OpaquePointer
    private let connection: OpaquePointer
    /// Who finalizes the statement, where somebody else does.
    private let owner: AnyObject?
    /// Where the parameters are that are bound.
    private let scratch = Scratch()
    /// What encrypted rows are read by; nil where they are not.
    private let seal: RowSeal?

    init(_ sql: String, on connection: OpaquePointer, seal: RowSeal? = nil) throws(StoreError) {
        self.seal = seal
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw StoreError.sqlite(code, on: connection, doing: sql) }
        self.handle = handle
        self.connection = connection
        owner = nil
    }

    /// Uses a statement that `owner` prepared, and will finalize.
    init(borrowing handle: OpaquePointer, of owner: AnyObject, seal: RowSeal? = nil) {
        self.seal = seal
        self.handle = handle
        self.owner = owner
        connection = sqlite3_db_handle(handle)
    }

    deinit {
        // What is bound is in memory that goes with this.
        if owner == nil { sqlite3_finalize(handle) } else { reset() }
    }

    // MARK: Parameters

    func bind(_ time: WallTime?, at index: Int32) { bind(time.map { Int64(clamping: $0.milliseconds) }, at: index) }

    func bind(_ revision: Revision, at index: Int32) { bind(Int64(revision.rawValue), at: index) }

    func bind(_ row: RowID, at index: Int32) { bind(Int64(row.rawValue), at: index) }

    func bind(_ value: Int64?, at index: Int32) {
        if let value {
            sqlite3_bind_int64(handle, index, value)
        } else {
            sqlite3_bind_null(handle, index)
        }
    }

    /// Binds bytes as text.
    func bind(_ bytes: [UInt8]?, at index: Int32) {
        guard let bytes else {
            sqlite3_bind_null(handle, index)
            return
        }
        bindText(bytes.span, at: index)
    }

    /// Binds a key as text.
    func bind(_ key: Key, at index: Int32) { key.withBytes { bindText($0, at: index) } }

    /// Binds what a record has in a field as text.
    func bind(_ field: Record.Field, of record: Record, at index: Int32) {
        if record.with(field, { bindText($0, at: index) }) == nil { sqlite3_bind_null(handle, index) }
    }

    private func bindText(_ bytes: Span<UInt8>, at index: Int32) {
        bytes.withUnsafeBytes { bytes in
            let copy = scratch.copy(bytes).bindMemory(to: CChar.self, capacity: bytes.count)
            _ = sqlite3_bind_text(handle, index, copy, Int32(bytes.count), Self.isStatic)
        }
    }

    /// Binds bytes as such.
    func bind(blob bytes: [UInt8]?, at index: Int32) {
        guard let bytes else {
            sqlite3_bind_null(handle, index)
            return
        }
        bytes.withUnsafeBytes { bytes in
            _ = sqlite3_bind_blob(handle, index, scratch.copy(bytes), Int32(bytes.count), Self.isStatic)
        }
    }

    /// What is bound stays where it is until the statement is reset: SQLite needs no copy of its own.
    private static var isStatic: sqlite3_destructor_type? { nil }

    // MARK: Running

    /// Goes to the next row.
    ///
    /// - Returns: false when there is none.
    func step() throws(StoreError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw StoreError.sqlite(code, on: connection, doing: String(cString: sqlite3_sql(handle)))
        }
    }

    /// Runs a statement that has no rows, and makes it ready to run again.
    func run() throws(StoreError) {
        defer { reset() }
        while try step() {}
    }

    func reset() {
        sqlite3_reset(handle)
        sqlite3_clear_bindings(handle)
        scratch.removeAll()
    }

    // MARK: Columns

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

    func bytes(_ column: Int32) -> [UInt8]? {
        text(column).map { Array($0) }
    }

    func blob(_ column: Int32) -> [UInt8]? {
        guard let start = sqlite3_column_blob(handle, column) else { return nil }
        return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }

    /// The register in a row of ``Schema/registerColumns``.
    func register() throws(StoreError) -> StoredRegister {
        guard let seal else {
            let stored = try fields(withContents: true)
            guard isNull(11) else {
                throw StoreError(
                    "values are encrypted with key \(keyID); --encryption-key-file names the file that has it")
            }
            return stored
        }
        var row = try sealedRow()
        let contents = try seal.open(row)
        row.stored.register.record = row.stored.register.record.with(contents)
        return row.stored
    }

    /// A row of ``Schema/registerColumns``, as it is in an encrypted database.
    func sealedRow() throws(StoreError) -> RowSeal.Row {
        RowSeal.Row(
            stored: try fields(withContents: false), contents: (bytes(3), bytes(5)), sealed: blob(11), keyID: keyID)
    }

    /// The number of the row, in a row of ``Schema/registerColumns``.
    var row: Int64 { integer(13) }

    private var keyID: String { String(decoding: bytes(12) ?? [], as: UTF8.self) }

    /// All of a row.
    ///
    /// - Parameter withContents: whether with value and metadata.
    /// - Throws: ``StoreError`` with the code of a damaged page where a field is none that was ever written: to take it for
    ///   another one would be to let SQL and us see two different rows.
    private func fields(withContents: Bool) throws(StoreError) -> StoredRegister {
        let revision = integer(0)
        guard !isNull(1), let version = version(2) else { throw damaged("no valid key and version") }
        guard (1...Meta.maximumCount).contains(revision) else { throw damaged("a revision that is none") }
        // The first change of a row has its number.
        let row = row
        guard (1...revision).contains(row) else { throw damaged("a number that is none") }
        guard (0...Meta.maximumCount).contains(integer(9)) else { throw damaged("a fence that is none") }
        let expiresAt = isNull(4) ? nil : UInt64(exactly: integer(4)).map { WallTime(milliseconds: $0) }
        guard isNull(4) || expiresAt != nil else { throw damaged("an expiry that is none") }
        let cause = bytes(8).flatMap { Register.Cause(rawValue: String(decoding: $0, as: UTF8.self)) }
        guard isNull(8) || cause != nil else { throw damaged("a cause that is none") }
        let binding = isNull(10) ? nil : Binding(rawValue: integer(10))
        guard isNull(10) || binding != nil else { throw damaged("a lease that is none") }
        let register = Register(
            record(withContents: withContents), version: version, expiresAt: expiresAt, cause: cause)
        return StoredRegister(
            register, revision: Revision(UInt64(revision)), row: RowID(UInt64(row)), fence: Fence(UInt64(integer(9))),
            binding: binding)
    }

    private func version(_ column: Int32) -> Version? {
        guard let text = text(column) else { return nil }
        return try? Version(text.span)
    }

    /// The bytes of a row, copied out of SQLite's at once.
    private func record(withContents: Bool) -> Record {
        let key = text(1) ?? UnsafeBufferPointer(start: nil, count: 0)
        let value = withContents ? text(3) : nil
        let metadata = withContents ? text(5) : nil
        let session = text(6)
        let op = text(7)
        return Record(key: key.span, value: value?.span, metadata: metadata?.span, session: session?.span, op: op?.span)
    }

    /// The bytes of a text, which are SQLite's until the next step; nil where there is none.
    private func text(_ column: Int32) -> UnsafeBufferPointer<UInt8>? {
        guard let text = sqlite3_column_text(handle, column) else { return nil }
        return UnsafeBufferPointer(start: text, count: Int(sqlite3_column_bytes(handle, column)))
    }

    private func damaged(_ what: String) -> StoreError {
        let key = bytes(1).map { " (\(String(decoding: $0, as: UTF8.self)))" } ?? ""
        return StoreError("row \(row)\(key) of the database has \(what)", code: StoreError.damagedRow)
    }
}

/// Memory for the parameters of a statement, used again for the next ones.
private final class Scratch {
    /// How much is kept for the next ones.
    private static let capacity = 4 * 1_024

    private let block = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
    private var used = 0
    /// What did not fit.
    private var extra: [UnsafeMutableRawPointer] = []

    deinit {
        removeAll()
        block.deallocate()
    }

    /// Copies `bytes` to where they stay until ``removeAll()``. Never to address 0, which SQLite takes for NULL.
    func copy(_ bytes: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer {
        let place: UnsafeMutableRawPointer
        if bytes.count <= Self.capacity - used {
            place = block + used
            used += bytes.count
        } else {
            place = .allocate(byteCount: bytes.count, alignment: 8)
            extra.append(place)
        }
        if let start = bytes.baseAddress { place.copyMemory(from: start, byteCount: bytes.count) }
        return place
    }

    func removeAll() {
        used = 0
        for place in extra { place.deallocate() }
        extra.removeAll()
    }
}

extension StoreError {
    /// What SQLite says of its last failure.
    static func sqlite(_ code: Int32, on connection: OpaquePointer, doing what: String) -> StoreError {
        let extended = sqlite3_extended_errcode(connection)
        let message = String(cString: sqlite3_errmsg(connection))
        return StoreError("\(message) (SQLite \(extended), in \(what.prefix(60)))", code: extended)
    }
}
