import GRDB
import SyncEngine

/// The tables of a database, and how older ones are brought up to date.
enum Schema {
    /// What stands where in a database.
    enum Layout {
        /// Of before migration 6: a change moved its row to the end of the table, where the revision was the number of the row.
        case moving
        /// A row stays where it is, and the log of revisions says which rows have changed.
        case staying

        /// The columns of a register, in the order that `Statement.register()` reads.
        var registerColumns: String {
            let row = self == .moving ? "register.revision" : "register.id"
            return
                "register.revision, key, version, value, expires_at, metadata, session, op, cause, fence, lease, sealed, key_id, \(row)"
        }

        /// Whose greatest revision is that of the latest change.
        var logTable: String { self == .moving ? "register" : "log" }
    }

    /// The columns of a register, in the order that `Statement.register()` reads.
    static let registerColumns = Layout.staying.registerColumns

    /// The same with an empty value where there is one, and no metadata: whether a value is null is known without reading it.
    static let outlineColumns =
        "revision, key, version, CASE WHEN value IS NOT NULL THEN '' END, expires_at, NULL, session, op, cause, fence, "
        + "lease, sealed, key_id, id"

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator().disablingDeferredForeignKeyChecks()
        migrator.registerMigration("1: registers") { database in
            // The revision is the row id: a change moves the row to the end of the table, so that reading what changed
            // is reading the end of the table, and the one index is that on the key (docs/decisions/0003).
            try database.execute(
                sql: """
                    CREATE TABLE register (
                        revision INTEGER PRIMARY KEY,
                        key TEXT NOT NULL,
                        version TEXT NOT NULL,
                        value TEXT,
                        expires_at INTEGER,
                        metadata TEXT,
                        session TEXT,
                        op TEXT,
                        cause TEXT,
                        committed_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE UNIQUE INDEX register_key ON register (key);
                    CREATE INDEX register_expiry ON register (expires_at) WHERE expires_at IS NOT NULL;
                    CREATE TABLE meta (
                        name TEXT PRIMARY KEY,
                        value TEXT NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2: leases, expiry and tombstones") { database in
            try database.execute(
                sql: """
                    ALTER TABLE register ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE register ADD COLUMN lease INTEGER;
                    DROP INDEX register_expiry;
                    -- What is to expire, and has not.
                    CREATE INDEX register_expiry ON register (expires_at)
                        WHERE expires_at IS NOT NULL AND value IS NOT NULL;
                    CREATE INDEX register_tombstone ON register (committed_at) WHERE value IS NULL;
                    CREATE INDEX register_lease ON register (lease) WHERE lease > 1;
                    """)
        }
        migrator.registerMigration(readable) { database in
            // What takes the place of value and metadata where they are encrypted: the value is an empty text then, which
            // no JSON is, so that whether a register is a tombstone is seen without a key.
            try database.execute(
                sql: """
                    ALTER TABLE register ADD COLUMN sealed BLOB;
                    ALTER TABLE register ADD COLUMN key_id TEXT;
                    """)
        }
        migrator.registerMigration(sealed) { _ in
            // The tables stay as they are. Encrypted rows have another format from here on, which older versions cannot read.
        }
        migrator.registerMigration("5: answers that are kept") { database in
            // What was answered to requests that changed several keys, by the op that they are known again by. The ids rise, and so do
            // the numbers of each bearer, so the least are the oldest.
            try database.execute(
                sql: """
                    CREATE TABLE answer (
                        id INTEGER PRIMARY KEY,
                        bearer BLOB NOT NULL,
                        number INTEGER NOT NULL,
                        op TEXT NOT NULL,
                        answered_at INTEGER NOT NULL,
                        answer BLOB NOT NULL,
                        key_id TEXT,
                        UNIQUE (bearer, op),
                        UNIQUE (bearer, number)
                    ) STRICT;
                    """)
        }
        migrator.registerMigration(RowMigration.name) { try RowMigration.begin($0) }
        return migrator
    }

    private static let readable = "3: encryption"
    private static let sealed = "4: rows sealed as a whole"

    /// How a database is to be read by who only looks at it.
    ///
    /// - Throws: ``StoreError`` where it has not all the columns that are read, or some that this version does not know, or is
    ///   on its way from one layout to another.
    static func layout(_ database: Database) throws -> Layout {
        let done = try migrator.completedMigrations(database)
        guard done.contains(readable), try !migrator.hasBeenSuperseded(database) else {
            throw StoreError("it was written by another version of starling; start that, or this one, on it first")
        }
        guard done.contains(RowMigration.name) else { return .moving }
        if try RowMigration.isUnderWay(database) {
            throw StoreError(
                "its rows are being moved to a newer layout, and not all are: 'starling serve' goes on with that and finishes "
                    + "it; the copy that was made before is beside it")
        }
        return .staying
    }

    /// What is in a database that Starling did not make, is not as it made it, or is missing.
    struct Difference {
        let text: String
        /// Whether it changes nothing of what our statements do: a table or a view of somebody's own.
        let isBeside: Bool
    }

    static func differences(_ database: Database) throws -> [Difference] {
        let ours = try DatabaseQueue()
        // As far as the database has been brought up to date: one that is only looked at stays as it is.
        let done = try migrator.completedMigrations(database)
        if let last = done.last { try migrator.migrate(ours, upTo: last) }
        if try !RowMigration.isUnderWay(database) { try RowMigration.run(ours) }
        let expected = try ours.read { try statements($0) }
        let found = try statements(database)
        let others = found.sorted { $0.key < $1.key }.compactMap { (name, sql) -> Difference? in
            guard let ours = expected[name] else {
                let isBeside = name.hasPrefix("table ") || name.hasPrefix("view ")
                return Difference(text: "there is \(name), which is none of Starling's", isBeside: isBeside)
            }
            return ours == sql ? nil : Difference(text: "\(name) is not as Starling made it", isBeside: false)
        }
        let missing = expected.keys.sorted().filter { found[$0] == nil }
        return others + missing.map { Difference(text: "\($0) is missing", isBeside: false) }
    }

    /// The statements that made all tables, indexes, triggers and views, by kind and name. What SQLite makes by itself has none.
    private static func statements(_ database: Database) throws -> [String: String] {
        let rows = try Row.fetchAll(
            database,
            sql: """
                SELECT type || ' ' || name AS name, sql FROM sqlite_master
                WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!'
                """)
        return Dictionary(rows.map { ($0["name"], $0["sql"]) }) { first, _ in first }
    }
}
