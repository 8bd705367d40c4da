import GRDB
import Registers
import SyncEngine

/// What a database says of its encryption.
extension Meta {
    /// Stands before the id of a key in the name of its check value.
    static let checkPrefix = "key_check:"
    /// In databases of before there were check values: some rows are not encrypted.
    private static let plain = "(none)"

    /// The ids of the keys that values may be encrypted with.
    static func encryptionKeys(_ database: Database) throws -> [String] {
        try read(.encryptionKeys, database)?.split(separator: " ").map(String.init).filter { $0 != plain } ?? []
    }

    /// The check values by the ids of keys.
    private static func checkValues(_ database: Database) throws -> [String: String] {
        let rows = try Row.fetchAll(
            database, sql: "SELECT name, value FROM meta WHERE name >= ?1 AND name < ?2",
            arguments: [checkPrefix, "key_check;"])
        return Dictionary(
            rows.map { (String(($0[0] as String).dropFirst(checkPrefix.count)), $0[1]) }, uniquingKeysWith: { $1 })
    }

    /// Makes sure that the keys are those of the database.
    static func checkKeys(
        _ database: Database, _ keys: ValueCipher.Keys, path: String, keyFile: String
    ) throws -> SealRecord? {
        let values = try checkValues(database)
        if values.isEmpty { return nil }
        return try SealRecord(
            keyIDs: try encryptionKeys(database), values: values, node: try read(.node, database) ?? "", keys: keys,
            path: path, keyFile: keyFile)
    }

    /// Makes sure, before anything is changed, that the keys are those that a database needs.
    static func checkKeys(_ database: Database, _ cipher: ValueCipher?, path: String) throws {
        if let cipher {
            _ = try checkKeys(database, cipher.snapshot, path: path, keyFile: cipher.path)
        } else {
            try checkPlain(database, path: path)
        }
    }

    private static func checkPlain(_ database: Database, path: String) throws {
        let ids = try encryptionKeys(database)
        if try ids.isEmpty && checkValues(database).isEmpty { return }
        throw StoreError(
            "\(path) has values that are encrypted with \(ids.joined(separator: ", ")); "
                + "--encryption-key-file names the file of keys")
    }

    /// How the rows of a database are read that is only read.
    static func seal(forReading database: Database, _ cipher: ValueCipher?, path: String) throws -> RowSeal? {
        guard let cipher else { return nil }
        let record = try checkKeys(database, cipher.snapshot, path: path, keyFile: cipher.path)
        let accepts = try record?.accepts ?? (encryptionKeys(database).isEmpty ? .plain : .older)
        return RowSeal(cipher, node: try read(.node, database) ?? "", accepting: accepts)
    }

    /// How the rows of a database are read and written. What is not known of its encryption yet is noted in it.
    ///
    /// - Parameter encryptsPlain: whether rows that are not sealed as a whole are taken for what they say. Who can write to the file can
    ///   make it look like one of before there were seals: so nobody but a person says so.
    /// - Throws: ``StoreError`` where keys are missing or are other ones, and where rows are not encrypted.
    static func seal(
        forWriting database: Database, _ cipher: ValueCipher?, path: String, encryptsPlain: Bool
    ) throws -> (seal: RowSeal, record: SealRecord)? {
        guard let cipher else {
            try checkPlain(database, path: path)
            return nil
        }
        let keys = cipher.snapshot
        let node = try read(.node, database) ?? ""
        if let record = try checkKeys(database, keys, path: path, keyFile: cipher.path) {
            guard encryptsPlain || record.accepts == .sealed else {
                throw StoreError(
                    "the encryption of \(path) was begun, and not finished: 'starling rekey --encrypt-plain' takes what it says now for "
                        + "the truth, and finishes it")
            }
            return (RowSeal(cipher, node: node, accepting: record.accepts), record)
        }
        var ids = try encryptionKeys(database)
        for id in ids { try checkOlder(database, cipher, keys, id: id, node: node, path: path) }
        if !ids.contains(keys.current.id) { ids.append(keys.current.id) }
        let record = SealRecord(
            keyIDs: ids, accepts: try accepted(database, path: path, encryptsPlain: encryptsPlain),
            node: node)
        try database.inTransaction(.immediate) {
            try write(.encryptionKeys, ids.joined(separator: " "), database)
            for (id, value) in try record.checkValues(keys) {
                try database.execute(
                    sql: "INSERT INTO meta (name, value) VALUES (?1, ?2)", arguments: [checkPrefix + id, value])
            }
            return .commit
        }
        return (RowSeal(cipher, node: node, accepting: record.accepts), record)
    }

    /// What rows there are in a database that has no check values yet.
    private static func accepted(_ database: Database, path: String, encryptsPlain: Bool) throws -> AcceptedRows {
        func has(_ condition: String) throws -> Bool {
            try Bool.fetchOne(database, sql: "SELECT EXISTS (SELECT 1 FROM register WHERE \(condition))") ?? false
        }
        if try !has("true") { return .sealed }
        if encryptsPlain { return .plain }
        guard try has("sealed IS NULL AND (value IS NOT NULL OR metadata IS NOT NULL)") else {
            throw StoreError(
                "\(path) does not vouch for its rows. If it was encrypted by an earlier version, 'starling rekey --encrypt-plain' takes "
                    + "what it says now for the truth, and seals it; if not, somebody has altered it")
        }
        throw StoreError(
            "\(path) has values that are not encrypted. If it was never encrypted, 'starling rekey --encrypt-plain' encrypts "
                + "them; if it was, somebody has put them there")
    }

    /// Makes sure that a key is the right one, where there is no check value: by the rows.
    private static func checkOlder(
        _ database: Database, _ cipher: ValueCipher, _ keys: ValueCipher.Keys, id: String, node: String, path: String
    ) throws {
        guard keys.has(id) else {
            throw StoreError("\(path) has values that are encrypted with key \(id), which is not in \(cipher.path)")
        }
        let statement = try database.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE key_id = ?1 LIMIT 100")
        let rows = RowReader(statement, seal: RowSeal(cipher, node: node, accepting: .older))
        defer { rows.reset() }
        rows.bind(Array(id.utf8), at: 1)
        var isEmpty = true
        reading: while true {
            switch rows.nextResult() {
            case .success(.some): return
            case .success(nil): break reading
            case .failure(let error) where error.isRow: isEmpty = false
            case .failure(let error): throw error
            }
        }
        if isEmpty { return }
        throw StoreError(
            "key \(id) in \(cipher.path) is not the one that \(path) is encrypted with, but another one of that name")
    }
}
