import Registers
import SyncEngine

/// What the writer does beside writing: it finds what is over, and forgets tombstones.
final class UpkeepStatements {
    private let meta: Statement
    private let selectExpired: Statement
    private let selectNextExpiry: Statement
    private let selectBound: Statement
    private let selectTombstones: Statement
    private let deleteRegister: Statement
    private let deleteChange: Statement
    /// Rows that are none of ours, by their numbers: they are passed over, and do not keep the others from their end.
    private var damaged: Set<Int64> = []

    init(on handle: OpaquePointer, seal: RowSeal?) throws(StoreError) {
        meta = try Statement(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", on: handle)
        let columns = Schema.registerColumns
        selectExpired = try Statement(
            """
            SELECT \(columns) FROM register WHERE expires_at <= ?1 AND expires_at IS NOT NULL AND value IS NOT NULL \
            ORDER BY expires_at
            """, on: handle, seal: seal)
        selectNextExpiry = try Statement(
            """
            SELECT id, expires_at FROM register WHERE expires_at IS NOT NULL AND value IS NOT NULL \
            ORDER BY expires_at
            """, on: handle)
        selectBound = try Statement(
            "SELECT \(columns) FROM register WHERE lease > 1 ORDER BY revision", on: handle, seal: seal)
        // Versions compare as texts, so the milliseconds of a stamp do by their 12 hex digits.
        selectTombstones = try Statement(
            """
            SELECT \(columns) FROM register WHERE value IS NULL AND committed_at < ?1 AND version < ?2 \
            ORDER BY committed_at
            """, on: handle, seal: seal)
        deleteRegister = try Statement("DELETE FROM register WHERE id = ?1", on: handle)
        deleteChange = try Statement("DELETE FROM log WHERE revision = ?1", on: handle)
    }

    func write(_ name: Meta.Name, _ value: String) throws(StoreError) {
        meta.bind(Array(name.rawValue.utf8), at: 1)
        meta.bind(Array(value.utf8), at: 2)
        try meta.run()
    }

    func expired(at now: WallTime, limit: Int, skipping skipped: Int) throws(StoreError) -> [StoredRegister] {
        selectExpired.bind(now, at: 1)
        return try registers(of: selectExpired, limit: limit, skipping: skipped)
    }

    /// Up to `limit` rows that are sound, behind the first `skipped` of those.
    private func registers(of statement: Statement, limit: Int, skipping skipped: Int = 0) throws(StoreError)
        -> [StoredRegister]
    {
        defer { statement.reset() }
        var rows: [StoredRegister] = []
        var left = skipped
        while rows.count < limit, try statement.step() {
            let row = statement.row
            if damaged.contains(row) { continue }
            if left > 0 {
                left -= 1
                continue
            }
            do throws(StoreError) {
                rows.append(try statement.register())
            } catch  where error.isRow {
                damaged.insert(row)
            }
        }
        return rows
    }

    func nextExpiry(skipping skipped: Int) throws(StoreError) -> WallTime? {
        defer { selectNextExpiry.reset() }
        var left = skipped
        while try selectNextExpiry.step() {
            if damaged.contains(selectNextExpiry.integer(0)) { continue }
            if left == 0 { return WallTime(milliseconds: UInt64(max(0, selectNextExpiry.integer(1)))) }
            left -= 1
        }
        return nil
    }

    func connectionBound(limit: Int) throws(StoreError) -> [StoredRegister] {
        try registers(of: selectBound, limit: limit)
    }

    func collect(before cutoff: WallTime, limit: Int, known: StoreState) throws(StoreError) -> CollectedTombstones {
        var collected = CollectedTombstones(
            revision: known.collectedRevision, stamp: known.collectedStamp, fence: known.collectedFence)
        selectTombstones.bind(cutoff, at: 1)
        selectTombstones.bind(Meta.versionPrefix(milliseconds: cutoff.milliseconds), at: 2)
        let tombstones = try registers(of: selectTombstones, limit: limit)
        guard !tombstones.isEmpty else { return collected }
        for stored in tombstones {
            deleteRegister.bind(stored.row, at: 1)
            try deleteRegister.run()
            deleteChange.bind(stored.revision, at: 1)
            try deleteChange.run()
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
