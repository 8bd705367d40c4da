import GRDB
import Registers
import SyncEngine
import SyncProtocol

/// What a database knows of itself: one row a fact, in the table `meta`.
enum Meta {
    enum Name: String {
        case epoch
        case node
        /// The upper bound of all stamps issued, as 16 hex digits.
        case clockBound = "clock_bound"
        case collectedRevision = "collected_revision"
        case collectedStamp = "collected_stamp"
        case durability
        /// The kernel's boot that the database was last open in.
        case bootID = "boot_id"
        /// Whether the last server to have it open closed it.
        case isClean = "clean"
    }

    /// What a new database gets.
    struct Fresh: Sendable {
        let epoch: Epoch
        let node: String
    }

    struct Opened: Sendable {
        let state: StoreState
        let node: String
        let isNewEpochAfterCrash: Bool
    }

    /// Reads the facts, makes those of a new database, and notes that it is open.
    static func open(
        _ database: Database, _ configuration: SQLiteDatabase.Configuration, fresh: Fresh, now: UInt64
    ) throws -> Opened {
        var opened: Opened?
        try database.inTransaction(.immediate) {
            let lostCommits = try mayHaveLostCommits(database, configuration)
            if try read(.epoch, database) == nil || lostCommits {
                try write(.epoch, String(decoding: fresh.epoch.bytes, as: UTF8.self), database)
            }
            if try read(.node, database) == nil { try write(.node, fresh.node, database) }
            if lostCommits {
                // Stamps of lost commits were seen: step past all of them.
                let bound = Stamp(milliseconds: now + configuration.maximumDrift + 1)
                try write(.clockBound, hex(max(bound, try stamp(.clockBound, database))), database)
            }
            try write(.durability, configuration.durability.rawValue, database)
            try write(.bootID, configuration.bootID ?? "", database)
            try write(.isClean, "0", database)
            opened = Opened(
                state: try state(database), node: try read(.node, database) ?? fresh.node,
                isNewEpochAfterCrash: lostCommits)
            return .commit
        }
        guard let opened else { throw StoreError("the database did not open") }
        return opened
    }

    static func close(_ database: Database, lastStamp: Stamp) throws {
        try database.inTransaction(.immediate) {
            try write(.clockBound, hex(lastStamp), database)
            try write(.isClean, "1", database)
            return .commit
        }
    }

    /// The state as it is on disk.
    static func state(_ database: Database) throws -> StoreState {
        guard let text = try read(.epoch, database), let epoch = Epoch(Array(text.utf8)) else {
            throw StoreError("the database has no epoch")
        }
        let collected = UInt64(try read(.collectedRevision, database) ?? "") ?? 0
        return StoreState(
            epoch: epoch, head: try head(database), clockBound: try stamp(.clockBound, database),
            collectedRevision: collected, collectedStamp: try stamp(.collectedStamp, database))
    }

    /// The revision of the latest change, in one look-up: every page and every get asks for it.
    static func head(_ database: Database) throws -> UInt64 {
        let statement = try database.cachedStatement(
            sql: """
                SELECT max(
                    coalesce((SELECT max(revision) FROM register), 0),
                    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'collected_revision'), 0))
                """)
        return UInt64(try Int64.fetchOne(statement) ?? 0)
    }

    /// Whether the machine crashed while commits were not fsynced: then revisions that subscribers have seen may be gone.
    private static func mayHaveLostCommits(
        _ database: Database, _ configuration: SQLiteDatabase.Configuration
    ) throws -> Bool {
        guard try read(.durability, database) == Durability.os.rawValue, try read(.isClean, database) == "0" else {
            return false
        }
        let lastBoot = try read(.bootID, database)
        return configuration.bootID == nil || lastBoot != configuration.bootID
    }

    static func hex(_ stamp: Stamp) -> String {
        String(decoding: Epoch(stamp.rawValue).bytes, as: UTF8.self)
    }

    private static func stamp(_ name: Name, _ database: Database) throws -> Stamp {
        guard let text = try read(name, database) else { return .zero }
        guard let value = UInt64(text, radix: 16) else {
            throw StoreError("the database's \(name.rawValue) is no stamp")
        }
        return Stamp(rawValue: value)
    }

    private static func read(_ name: Name, _ database: Database) throws -> String? {
        try String.fetchOne(database, sql: "SELECT value FROM meta WHERE name = ?", arguments: [name.rawValue])
    }

    private static func write(_ name: Name, _ value: String, _ database: Database) throws {
        try database.execute(
            sql: "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            arguments: [name.rawValue, value])
    }
}
