import GRDB
import SyncEngine

/// The way of rows from ``Schema/Layout/moving`` to ``Schema/Layout/staying``: in portions, each of which takes some rows out of the old table
/// and puts them into the new one. What is left in the old one is still to be done, so nothing else says how far it has got, and it goes on
/// after a crash. The number of a row is the revision that it had; so all that is put is appended.
enum RowMigration {
    static let name = "6: rows that stay"

    /// The old table while there is one.
    private static let old = "register_by_revision"
    /// A portion ends behind so many rows or bytes.
    private static let maximumRows = 8_192
    private static let maximumBytes = 8 << 20

    /// What comes before the value is read without what the value overflows into.
    private static let columns = """
        committed_at, expires_at, fence, lease, key, version, session, op, cause, key_id, metadata, value, sealed
        """

    /// Makes the new tables, and puts the old one aside.
    static func begin(_ database: Database) throws {
        try database.execute(
            sql: """
                DROP INDEX register_key;
                DROP INDEX register_expiry;
                DROP INDEX register_tombstone;
                DROP INDEX register_lease;
                ALTER TABLE register RENAME TO \(old);
                CREATE TABLE register (
                    id INTEGER PRIMARY KEY,
                    revision INTEGER NOT NULL,
                    committed_at INTEGER NOT NULL,
                    expires_at INTEGER,
                    fence INTEGER NOT NULL,
                    lease INTEGER,
                    key TEXT NOT NULL,
                    version TEXT NOT NULL,
                    session TEXT,
                    op TEXT,
                    cause TEXT,
                    key_id TEXT,
                    metadata TEXT,
                    value TEXT,
                    sealed BLOB
                ) STRICT;
                -- Which row each change was of. Where the row has another revision, a later change has taken its place.
                CREATE TABLE log (
                    revision INTEGER PRIMARY KEY,
                    id INTEGER NOT NULL
                ) STRICT;
                """)
    }

    static func isUnderWay(_ database: Database) throws -> Bool { try database.tableExists(old) }

    /// Whether a database has rows that are to be moved, and none of them has been.
    static func isAhead(_ database: Database, _ migrator: DatabaseMigrator) throws -> Bool {
        guard try database.tableExists("register"), try !migrator.completedMigrations(database).contains(name) else {
            return false
        }
        return try Bool.fetchOne(database, sql: "SELECT EXISTS (SELECT 1 FROM register)") ?? false
    }

    /// Moves all rows that are left, where any are.
    ///
    /// - Parameter progress: is called after each portion, with how many rows were moved by this and how many there were to be; what
    ///   it throws ends the move, which goes on the next time.
    static func run(_ database: some DatabaseWriter, progress: (Int, Int) throws -> Void = { _, _ in }) throws {
        guard try database.read(isUnderWay) else { return }
        let total = try database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(old)") ?? 0 }
        var moved = 0
        while moved < total {
            moved += try database.write(movePortion)
            try progress(moved, total)
        }
        try database.write(finish)
    }

    /// - Returns: how many rows were moved.
    private static func movePortion(_ database: Database) throws -> Int {
        var bytes = 0
        var count = 0
        var last: Int64 = 0
        let sizes = try Row.fetchCursor(
            database,
            sql: """
                SELECT revision, coalesce(length(CAST(value AS BLOB)), 0) + coalesce(length(CAST(metadata AS BLOB)), 0)
                    + coalesce(length(sealed), 0) FROM \(old) ORDER BY revision
                """)
        while bytes < maximumBytes, count < maximumRows, let row = try sizes.next() {
            last = row[0]
            bytes += row[1] as Int
            count += 1
        }
        try database.execute(
            sql: """
                INSERT INTO register (id, revision, \(columns))
                    SELECT revision, revision, \(columns) FROM \(old) WHERE revision <= :last ORDER BY revision
                """, arguments: ["last": last])
        try database.execute(
            sql: "INSERT INTO log SELECT revision, revision FROM \(old) WHERE revision <= :last ORDER BY revision",
            arguments: ["last": last])
        try database.execute(sql: "DELETE FROM \(old) WHERE revision <= :last", arguments: ["last": last])
        return count
    }

    /// Indexes what was moved: at the end, since SQLite sorts faster than it inserts.
    private static func finish(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE UNIQUE INDEX register_key ON register (key);
                -- What is to expire, and has not.
                CREATE INDEX register_expiry ON register (expires_at)
                    WHERE expires_at IS NOT NULL AND value IS NOT NULL;
                CREATE INDEX register_tombstone ON register (committed_at) WHERE value IS NULL;
                CREATE INDEX register_lease ON register (lease) WHERE lease > 1;
                DROP TABLE \(old);
                """)
        try Meta.write(.logIsSwept, "1", database)
    }
}
