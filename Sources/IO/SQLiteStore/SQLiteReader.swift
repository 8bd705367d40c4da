package import Access
import GRDB
package import Registers
package import SyncEngine

/// The reading side of a database: each snapshot is a transaction on a connection of the pool. Any thread may use it.
package struct SQLiteReader: ReadStore, Sendable {
    private let database: SQLiteDatabase

    package init(database: SQLiteDatabase) {
        self.database = database
    }

    package func snapshot<Result>(
        _ body: (Snapshot) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        // SQLite maps the index of its log into memory: to read one that was cut short would end the process.
        try database.lock.checkFiles()
        do {
            return try database.pool.read { try body(Snapshot(connection: $0, seal: database.seal)) }
        } catch {
            throw StoreError(reading: error)
        }
    }

    package struct Snapshot: ReadSnapshot {
        fileprivate let connection: Database
        fileprivate let seal: RowSeal?

        package func horizon() throws(StoreError) -> Horizon {
            do {
                return try Meta.horizon(connection)
            } catch {
                throw StoreError(reading: error)
            }
        }

        package func register(of key: Key) throws(StoreError) -> StoredRegister? {
            let rows = try select("FROM register WHERE key = ?1")
            defer { rows.reset() }
            rows.bind(key, at: 1)
            guard let row = try rows.next() else { return nil }
            guard row.register.key == key else { throw .anotherKey(row.register.key, than: key) }
            return row
        }

        package func forEachRegister(
            in range: KeyRange, after: Key?, _ body: (StoredRegister) -> Bool
        ) throws(StoreError) -> Bool {
            // One bound at each end: of two at the same end SQLite begins at the first, and looks at all rows up to the other.
            // No key has a zero byte: there is none between a key and the same with a zero behind it.
            var start = range.start
            if let after, after.bytes.lexicographicallyPrecedes(start) == false { start = after.bytes + [0] }
            let rows = try select("FROM register WHERE key >= ?1 AND key < ?2 ORDER BY key")
            defer { rows.reset() }
            rows.bind(start, at: 1)
            rows.bind(range.isExact ? range.start + [0] : SQLiteReader.end(of: range.start), at: 2)
            while let row = try rows.next() {
                guard body(row) else { return false }
            }
            return true
        }

        package func forEachChange(after revision: Revision, _ body: (StoredRegister) -> Bool) throws(StoreError) {
            // The tables in this order, and no other. Where the row has another revision, a later change has taken the place of this one.
            let rows = try select(
                """
                FROM log CROSS JOIN register ON register.id = log.id AND register.revision = log.revision \
                WHERE log.revision > ?1 ORDER BY log.revision
                """)
            defer { rows.reset() }
            rows.bind(revision, at: 1)
            while let row = try rows.next(), body(row) {}
        }

        private func select(_ rows: StaticString) throws(StoreError) -> RowReader {
            do {
                let statement = try connection.cachedStatement(
                    sql: "SELECT \(Schema.registerColumns) \(rows)")
                return RowReader(statement, seal: seal)
            } catch {
                throw StoreError(reading: error)
            }
        }
    }

    /// The least byte string that is greater than every string with `prefix`. No byte of a key is FF, so that one is
    /// greater than all keys, and the last byte of a prefix can always be raised.
    static func end(of prefix: [UInt8]) -> [UInt8] {
        guard let last = prefix.last else { return [0xFF] }
        return prefix.dropLast() + [last + 1]
    }
}

extension StoreError {
    /// A row was found under a key that it is not of.
    static func anotherKey(_ found: Key, than key: Key) -> StoreError {
        StoreError("the row found under \(key) is that of \(found): the index was altered", code: damagedRow)
    }

    /// What GRDB or a row reader says of a failure.
    init(reading error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as DatabaseError:
            self.init(
                "\(error.message ?? "unknown") (SQLite \(error.extendedResultCode.rawValue))",
                code: error.extendedResultCode.rawValue)
        default: self.init("\(error)")
        }
    }
}
