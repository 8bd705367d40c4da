import Registers
import SyncEngine
import SyncProtocol

/// What the writer does to get all values under the current key.
final class RekeyStatements {
    /// Stands for rows that are not encrypted.
    static let plain = "(none)"

    private let select: Statement
    private let update: Statement
    private let readKeys: Statement
    private let writeKeys: Statement
    /// How far the rows have been looked through for ``target``.
    private var position: UInt64 = 0
    private var target: String?
    /// Whether rows were passed over, since they do not decrypt.
    private var hasSkipped = false

    init(on handle: OpaquePointer, cipher: ValueCipher?) throws(StoreError) {
        select = try Statement(
            """
            SELECT \(Schema.registerColumns) FROM register WHERE revision > ?1 AND key_id IS NOT ?2 \
            AND (value IS NOT NULL OR metadata IS NOT NULL OR sealed IS NOT NULL) ORDER BY revision LIMIT ?3
            """, on: handle, cipher: cipher)
        update = try Statement(
            "UPDATE register SET value = ?1, metadata = NULL, sealed = ?2, key_id = ?3 WHERE revision = ?4", on: handle)
        readKeys = try Statement("SELECT value FROM meta WHERE name = 'encryption_keys'", on: handle)
        writeKeys = try Statement(
            """
            INSERT INTO meta (name, value) VALUES ('encryption_keys', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1
            """, on: handle)
    }

    /// Notes that rows may be encrypted with a key.
    func note(_ id: String) throws(StoreError) {
        var ids = try keys() ?? [Self.plain]
        guard !ids.contains(id) else { return }
        ids.append(id)
        try write(ids)
    }

    private func keys() throws(StoreError) -> [String]? {
        defer { readKeys.reset() }
        guard try readKeys.step(), let text = readKeys.bytes(0) else { return nil }
        return String(decoding: text, as: UTF8.self).split(separator: " ").map(String.init)
    }

    private func write(_ ids: [String]) throws(StoreError) {
        writeKeys.bind(Array(ids.joined(separator: " ").utf8), at: 1)
        try writeKeys.run()
    }

    /// - Returns: how many rows were taken; 0: there are no more.
    func run(_ cipher: ValueCipher, limit: Int) throws(StoreError) -> Int {
        let id = cipher.currentID
        if target != id { (target, position, hasSkipped) = (id, 0, false) }
        try note(id)
        let rows = try next(id, limit)
        for row in rows {
            position = row.revision
            guard let stored = row.stored, let sealed = try cipher.seal(stored.register) else { continue }
            update.bind(stored.register.value == nil ? nil : [], at: 1)
            update.bind(blob: sealed.bytes, at: 2)
            update.bind(Array(sealed.keyID.utf8), at: 3)
            update.bind(Int64(row.revision), at: 4)
            try update.run()
        }
        if rows.isEmpty, !hasSkipped { try write([id]) }
        return rows.count
    }

    private func next(_ id: String, _ limit: Int) throws(StoreError) -> [(revision: UInt64, stored: StoredRegister?)] {
        defer { select.reset() }
        select.bind(Int64(position), at: 1)
        select.bind(Array(id.utf8), at: 2)
        select.bind(Int64(limit), at: 3)
        var rows: [(UInt64, StoredRegister?)] = []
        while try select.step() {
            let revision = UInt64(bitPattern: select.integer(0))
            let stored = try? select.register()
            if stored == nil { hasSkipped = true }
            rows.append((revision, stored))
        }
        return rows
    }
}
