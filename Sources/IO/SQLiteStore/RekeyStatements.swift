import Foundation
import Registers
import SyncEngine

/// What the writer does to get all rows under the current key, in the current format.
final class RekeyStatements {
    private let seal: RowSeal
    private let select: Statement
    private let update: Statement
    private let writeMeta: Statement
    private let deleteChecks: Statement
    /// What the database says, after the last commit.
    private var record: SealRecord
    /// What it will say, if this transaction is committed.
    private var draft: SealRecord
    /// How far the rows have been looked through for ``target``.
    private var position = RowID(0)
    private var target: String?
    /// Whether rows were passed over, since they do not decrypt.
    private var hasSkipped = false

    init(on handle: OpaquePointer, seal: RowSeal, record: SealRecord) throws(StoreError) {
        self.seal = seal
        self.record = record
        draft = record
        select = try Statement(
            """
            SELECT \(Schema.registerColumns) FROM register WHERE id > ?1 AND (?4 OR key_id IS NOT ?2) \
            ORDER BY id LIMIT ?3
            """, on: handle, seal: seal)
        update = try Statement(
            "UPDATE register SET value = ?1, metadata = NULL, sealed = ?2, key_id = ?3 WHERE id = ?4", on: handle)
        writeMeta = try Statement(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2", on: handle)
        deleteChecks = try Statement(
            "DELETE FROM meta WHERE name >= '\(Meta.checkPrefix)' AND name < 'key_check;'", on: handle)
    }

    var currentID: String { seal.cipher.currentID }

    /// Notes that rows may be encrypted with a key, before the first of them.
    func note(_ id: String) throws(StoreError) {
        guard !draft.keyIDs.contains(id) else { return }
        draft.keyIDs.append(id)
        try write()
    }

    /// The transaction was committed.
    func committed() {
        record = draft
        seal.accepts = draft.accepts
    }

    /// The transaction was rolled back.
    func rolledBack() {
        draft = record
        target = nil
    }

    private func write() throws(StoreError) {
        let checks = try draft.checkValues(seal.cipher.snapshot)
        try deleteChecks.run()
        try write(Meta.Name.encryptionKeys.rawValue, draft.keyIDs.joined(separator: " "))
        for (id, value) in checks { try write(Meta.checkPrefix + id, value) }
    }

    private func write(_ name: String, _ value: String) throws(StoreError) {
        writeMeta.bind(Array(name.utf8), at: 1)
        writeMeta.bind(Array(value.utf8), at: 2)
        try writeMeta.run()
    }

    /// - Returns: how many rows were taken; 0: there are no more.
    func run(limit: Int) throws(StoreError) -> Int {
        let id = seal.cipher.currentID
        if target != id { (target, position, hasSkipped) = (id, RowID(0), false) }
        try note(id)
        let rows = try next(id, limit)
        for row in rows {
            position = row.id
            guard let stored = row.stored else { continue }
            let sealed = try seal.seal(stored)
            update.bind(stored.register.isTombstone ? nil : [], at: 1)
            update.bind(blob: sealed.bytes, at: 2)
            update.bind(Array(sealed.keyID.utf8), at: 3)
            update.bind(row.id, at: 4)
            try update.run()
        }
        if rows.isEmpty, draft.accepts != .sealed || !hasSkipped {
            // Rows that were passed over still need their keys, but no other rules than all.
            draft.accepts = .sealed
            if !hasSkipped { draft.keyIDs = [id] }
            if draft != record { try write() }
        }
        return rows.count
    }

    /// - Returns: nil for rows that are to be left as they are.
    private func next(_ id: String, _ limit: Int) throws(StoreError) -> [(id: RowID, stored: StoredRegister?)] {
        defer { select.reset() }
        select.bind(position, at: 1)
        select.bind(Array(id.utf8), at: 2)
        select.bind(Int64(limit), at: 3)
        select.bind(draft.accepts == .sealed ? 0 : 1, at: 4)
        var rows: [(RowID, StoredRegister?)] = []
        while try select.step() {
            let row = RowID(UInt64(bitPattern: select.row))
            guard let sealed = try? select.sealedRow(), let contents = try? seal.open(sealed) else {
                hasSkipped = true
                rows.append((row, nil))
                continue
            }
            var stored = sealed.stored
            stored.register.record = stored.register.record.with(contents)
            rows.append((row, seal.isCurrent(sealed) ? nil : stored))
        }
        return rows
    }
}
