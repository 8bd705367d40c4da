import Registers
import SyncEngine
import SyncProtocol

/// What the writer does beside writing: it finds what is over, and forgets tombstones.
struct UpkeepStatements {
    private let meta: Statement
    private let selectExpired: Statement
    private let selectNextExpiry: Statement
    private let selectBound: Statement
    private let selectTombstones: Statement
    private let delete: Statement

    init(on handle: OpaquePointer, seal: RowSeal?) throws(StoreError) {
        meta = try Statement(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", on: handle)
        let columns = Schema.registerColumns
        selectExpired = try Statement(
            """
            SELECT \(columns) FROM register WHERE expires_at <= ?1 AND expires_at IS NOT NULL AND value IS NOT NULL \
            ORDER BY expires_at LIMIT ?2 OFFSET ?3
            """, on: handle, seal: seal)
        selectNextExpiry = try Statement(
            """
            SELECT expires_at FROM register WHERE expires_at IS NOT NULL AND value IS NOT NULL \
            ORDER BY expires_at LIMIT 1 OFFSET ?1
            """, on: handle)
        selectBound = try Statement(
            "SELECT \(columns) FROM register WHERE lease > 1 ORDER BY revision LIMIT ?1", on: handle, seal: seal)
        // Versions compare as texts, so the milliseconds of a stamp do by their 12 hex digits.
        selectTombstones = try Statement(
            """
            SELECT \(columns) FROM register WHERE value IS NULL AND committed_at < ?1 AND version < ?2 \
            ORDER BY committed_at LIMIT ?3
            """, on: handle, seal: seal)
        delete = try Statement("DELETE FROM register WHERE revision = ?1", on: handle)
    }

    func write(_ name: Meta.Name, _ value: String) throws(StoreError) {
        meta.bind(Array(name.rawValue.utf8), at: 1)
        meta.bind(Array(value.utf8), at: 2)
        try meta.run()
    }

    func expired(at now: UInt64, limit: Int, skipping skipped: Int) throws(StoreError) -> [StoredRegister] {
        selectExpired.bind(Int64(clamping: now), at: 1)
        selectExpired.bind(Int64(limit), at: 2)
        selectExpired.bind(Int64(skipped), at: 3)
        return try selectExpired.registers()
    }

    func nextExpiry(skipping skipped: Int) throws(StoreError) -> UInt64? {
        selectNextExpiry.bind(Int64(skipped), at: 1)
        defer { selectNextExpiry.reset() }
        guard try selectNextExpiry.step(), !selectNextExpiry.isNull(0) else { return nil }
        return UInt64(max(0, selectNextExpiry.integer(0)))
    }

    func connectionBound(limit: Int) throws(StoreError) -> [StoredRegister] {
        selectBound.bind(Int64(limit), at: 1)
        return try selectBound.registers()
    }

    func collect(before cutoff: UInt64, limit: Int, known: StoreState) throws(StoreError) -> CollectedTombstones {
        var collected = CollectedTombstones(
            revision: known.collectedRevision, stamp: known.collectedStamp, fence: known.collectedFence)
        selectTombstones.bind(Int64(clamping: cutoff), at: 1)
        selectTombstones.bind(Meta.versionPrefix(milliseconds: cutoff), at: 2)
        selectTombstones.bind(Int64(limit), at: 3)
        let tombstones = try selectTombstones.registers()
        guard !tombstones.isEmpty else { return collected }
        for stored in tombstones {
            delete.bind(Int64(stored.revision), at: 1)
            try delete.run()
            collected.add(
                stored.register.key, revision: stored.revision, stamp: stored.register.version.stamp,
                fence: stored.fence)
        }
        try write(.collectedRevision, "\(collected.revision)")
        try write(.collectedStamp, Meta.hex(collected.stamp))
        try write(.collectedFence, "\(collected.fence)")
        return collected
    }
}

extension Statement {
    /// All rows of ``Schema/registerColumns``; makes the statement ready to run again.
    func registers() throws(StoreError) -> [StoredRegister] {
        defer { reset() }
        var rows: [StoredRegister] = []
        while try step() { rows.append(try register()) }
        return rows
    }
}
