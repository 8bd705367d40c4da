import GRDB
import GRDBSQLite
import Registers
import SyncEngine

/// Reads registers off a statement that GRDB prepared and keeps, by the C API.
struct RowReader {
    private let statement: Statement

    init(_ statement: GRDB.Statement, seal: RowSeal?) {
        self.statement = Statement(borrowing: statement.sqliteStatement, of: statement, seal: seal)
        self.statement.reset()
    }

    func bind(_ revision: Revision, at index: Int32) { statement.bind(revision, at: index) }
    func bind(_ key: Key, at index: Int32) { statement.bind(key, at: index) }
    func bind(_ bytes: [UInt8], at index: Int32) { statement.bind(bytes, at: index) }
    func reset() { statement.reset() }

    /// As ``next()``. What fails by ``StoreError/isRow`` is no reason not to go on.
    func nextResult() -> Result<StoredRegister?, StoreError> {
        Result { () throws(StoreError) in try next() }
    }

    func next() throws(StoreError) -> StoredRegister? {
        try statement.step() ? try statement.register() : nil
    }
}
