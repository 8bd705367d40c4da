import GRDB

/// The tables of a database, and how older ones are brought up to date.
enum Schema {
    /// The columns of a register, in the order that `Statement.register()` reads.
    static let registerColumns =
        "revision, key, version, value, expires_at, metadata, session, op, cause, fence, lease, sealed, key_id"

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
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
        return migrator
    }

    private static let readable = "3: encryption"
    private static let sealed = "4: rows sealed as a whole"

    /// Whether a database has all the columns that are read, and none that this version does not know.
    static func isReadable(_ database: Database) throws -> Bool {
        try migrator.completedMigrations(database).contains(readable) && !migrator.hasBeenSuperseded(database)
    }
}
