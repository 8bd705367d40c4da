import GRDB
import Registers
import SyncEngine

/// What a database knows of itself: one row a fact, in the table `meta`.
enum Meta {
    enum Name: String {
        case epoch
        case node
        /// The upper bound of all stamps issued, as 16 hex digits.
        case clockBound = "clock_bound"
        case collectedRevision = "collected_revision"
        case collectedStamp = "collected_stamp"
        case collectedFence = "collected_fence"
        case durability
        /// The kernel's boot that the database was last open in.
        case bootID = "boot_id"
        /// Whether the last server to have it open closed it.
        case isClean = "clean"
        /// Whether a log was missing when the database's rows began to be moved: what that left has one again.
        case logIsMissing = "log_missing"
        /// Whether all rows of the log are of latest changes: else some are stale that nobody knows of.
        case logIsSwept = "log_swept"
        /// The ids of the keys that values may be encrypted with.
        case encryptionKeys = "encryption_keys"
    }

    /// What a new database gets.
    struct Fresh: Sendable {
        let epoch: Epoch
        let node: String
    }

    struct Opened: Sendable {
        let state: StoreState
        let node: String
        let newEpochReason: NewEpochReason?
        /// Whether it was closed before.
        let wasClean: Bool
        /// Whether no row of the log was stale.
        let logWasSwept: Bool
    }

    /// Reads the facts, makes those of a new database, and notes that it is open.
    static func open(
        _ database: Database, _ configuration: SQLiteDatabase.Configuration, fresh: Fresh, hadLog: Bool, now: WallTime
    ) throws -> Opened {
        var opened: Opened?
        try database.inTransaction(.immediate) {
            // A server that ends without closing the database leaves its log beside it.
            let clean = try read(.isClean, database)
            let isWithoutLog = try clean == "0" && (!hadLog || read(.logIsMissing, database) != nil)
            let lostCommits = try isWithoutLog || mayHaveLostCommits(database, configuration)
            if try read(.epoch, database) == nil || lostCommits {
                try write(.epoch, String(decoding: fresh.epoch.bytes, as: UTF8.self), database)
            }
            if try read(.node, database) == nil { try write(.node, fresh.node, database) }
            if lostCommits {
                // Stamps of lost commits were seen: step past all of them.
                let bound = Stamp(milliseconds: (now + configuration.maximumDrift + 1).milliseconds)
                try write(.clockBound, hex(max(bound, try stamp(.clockBound, database))), database)
            }
            try write(.durability, configuration.durability.rawValue, database)
            try write(.bootID, configuration.bootID ?? "", database)
            try write(.isClean, "0", database)
            try database.execute(sql: "DELETE FROM meta WHERE name = ?", arguments: [Name.logIsMissing.rawValue])
            let logWasSwept = try read(.logIsSwept, database) == "1"
            try write(.logIsSwept, "0", database)
            opened = Opened(
                state: try state(database), node: try read(.node, database) ?? fresh.node,
                newEpochReason: lostCommits ? (isWithoutLog ? .logIsMissing : .machineCrashed) : nil,
                wasClean: clean != "0", logWasSwept: logWasSwept)
            return .commit
        }
        guard let opened else { throw StoreError("the database did not open") }
        return opened
    }

    /// Whether a database has been made, and not only its file.
    static func isThere(_ database: Database) throws -> Bool { try database.tableExists("meta") }

    /// Notes of a database that was not closed that its log is not beside it, before anything makes another one.
    static func noteMissingLog(_ database: Database) throws {
        if try read(.isClean, database) == "0" { try write(.logIsMissing, "1", database) }
    }

    static func close(_ database: Database, lastStamp: Stamp) throws {
        try database.inTransaction(.immediate) {
            try write(.clockBound, hex(lastStamp), database)
            try write(.isClean, "1", database)
            return .commit
        }
    }

    /// Begins a new history: what was written after the copy that this database is from may have been seen.
    static func startAnew(_ database: Database, epoch: Epoch, clockBound: Stamp) throws {
        try database.inTransaction(.immediate) {
            try write(.epoch, String(decoding: epoch.bytes, as: UTF8.self), database)
            try write(.clockBound, hex(max(clockBound, try stamp(.clockBound, database))), database)
            try write(.isClean, "1", database)
            return .commit
        }
    }

    /// The state as it is on disk.
    static func state(_ database: Database, _ layout: Schema.Layout = .staying) throws -> StoreState {
        guard let text = try read(.epoch, database), let epoch = Epoch(Array(text.utf8)) else {
            throw StoreError("the database has no epoch")
        }
        let horizon = try horizon(database, layout)
        // With room above it for whatever is written until the next start.
        guard max(horizon.head, horizon.collected) <= Revision(UInt64(maximumCount / 2)) else {
            throw impossible(horizon.head.rawValue, horizon.collected.rawValue)
        }
        return StoreState(
            epoch: epoch, head: horizon.head, clockBound: try stamp(.clockBound, database),
            collectedRevision: horizon.collected, collectedStamp: try stamp(.collectedStamp, database),
            collectedFence: try fence(.collectedFence, database))
    }

    private static func fence(_ name: Name, _ database: Database) throws -> Fence {
        guard let text = try read(name, database) else { return 0 }
        guard let fence = UInt64(text).map(Fence.init(_:)), fence <= WriteJudge.maximumFence else {
            throw StoreError(
                "the database's \(name.rawValue) is \(text.prefix(40)), which none can be: it was altered, or is damaged"
            )
        }
        return fence
    }

    /// The horizon, in one look-up: every page and every get asks for it.
    static func horizon(_ database: Database, _ layout: Schema.Layout = .staying) throws -> Horizon {
        let statement = try database.cachedStatement(
            sql: """
                SELECT coalesce((SELECT max(revision) FROM \(layout.logTable)), 0),
                    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'collected_revision'), 0)
                """)
        guard let row = try Row.fetchOne(statement) else { return Horizon(head: 0, collected: 0) }
        guard let latest = revision(row[0]), let collected = revision(row[1]) else {
            throw impossible(row[0] as Int64, row[1] as Int64)
        }
        return Horizon(head: max(latest, collected), collected: collected)
    }

    private static func impossible(_ head: some BinaryInteger, _ collected: some BinaryInteger) -> StoreError {
        StoreError(
            "the database says that its revision is \(head) (\(collected) of what was forgotten), which none can be: it was "
                + "altered, or is damaged")
    }

    private static func revision(_ number: Int64) -> Revision? {
        (0...maximumCount).contains(number) ? Revision(UInt64(number)) : nil
    }

    /// The greatest revision, or fence, that is taken for one: what can be counted up from for as long as anybody likes.
    static let maximumCount = Int64.max / 2

    /// No stamp is later than the year 2200, whatever the clocks of those who gave it.
    private static let latestStamp = Stamp(milliseconds: 7_258_118_400_000)

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

    /// The first 12 digits of every version of that millisecond.
    static func versionPrefix(milliseconds: UInt64) -> [UInt8] {
        Array(Epoch(min(milliseconds, Stamp.maximumMilliseconds)).bytes.suffix(12))
    }

    private static func stamp(_ name: Name, _ database: Database) throws -> Stamp {
        guard let text = try read(name, database) else { return .zero }
        guard let value = UInt64(text, radix: 16) else {
            throw StoreError("the database's \(name.rawValue) is no stamp")
        }
        let stamp = Stamp(rawValue: value)
        guard stamp <= latestStamp else {
            throw StoreError(
                "the database's \(name.rawValue) is a stamp of after the year 2200: it was altered, or is damaged")
        }
        return stamp
    }

    static func read(_ name: Name, _ database: Database) throws -> String? {
        try String.fetchOne(database, sql: "SELECT value FROM meta WHERE name = ?", arguments: [name.rawValue])
    }

    static func write(_ name: Name, _ value: String, _ database: Database) throws {
        try database.execute(
            sql: "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            arguments: [name.rawValue, value])
    }
}
