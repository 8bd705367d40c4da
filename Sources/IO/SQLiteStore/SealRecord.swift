import Foundation
import SyncEngine

/// What an encrypted database knows of its own encryption: which keys its rows need, which rows it accepts, and for each of
/// those keys a check value: that knowledge, encrypted with the key. A key with the right id and wrong bytes is
/// found out by it before anything is written, and nobody without the keys can say that other rows are to be accepted.
struct SealRecord: Equatable, Sendable {
    /// The ids of the keys that rows may be encrypted with.
    var keyIDs: [String]
    var accepts: AcceptedRows
    /// The name of the database, which is made with it: a record of another one is none of this.
    let node: String

    /// The check value for each key, as base64, by the key's id.
    func checkValues(_ keys: ValueCipher.Keys) throws(StoreError) -> [String: String] {
        var values: [String: String] = [:]
        for id in keyIDs {
            values[id] = Data(try keys.encrypt(Data(text.utf8), with: id, authenticating: associated(id)))
                .base64EncodedString()
        }
        return values
    }

    /// Reads what is in the database.
    ///
    /// - Parameters:
    ///   - values: the check values by the ids of keys.
    ///   - path: of the database, for messages.
    ///   - keyFile: likewise.
    /// - Throws: ``StoreError`` where a key is missing or another one, or the record was altered.
    init(
        keyIDs: [String], values: [String: String], node: String, keys: ValueCipher.Keys, path: String, keyFile: String
    ) throws(StoreError) {
        var found: SealRecord?
        for id in keyIDs {
            guard keys.has(id) else {
                throw StoreError("\(path) has values that are encrypted with key \(id), which is not in \(keyFile)")
            }
            let associated = SealRecord(keyIDs: keyIDs, accepts: .sealed, node: node).associated(id)
            guard let sealed = values[id].flatMap({ Data(base64Encoded: $0) }),
                let plain = keys.decrypt(Array(sealed), with: id, authenticating: associated),
                let record = SealRecord(text: String(decoding: plain, as: UTF8.self), node: node)
            else {
                throw StoreError(
                    "key \(id) in \(keyFile) is not the one that \(path) is encrypted with, but another one of that name "
                        + "(or the database was altered)")
            }
            guard record.keyIDs == keyIDs, found == nil || found == record else {
                throw StoreError("what \(path) says of its encryption was altered: restore a backup")
            }
            found = record
        }
        guard let found, values.count == keyIDs.count else {
            throw StoreError("what \(path) says of its encryption was altered: restore a backup")
        }
        self = found
    }

    init(keyIDs: [String], accepts: AcceptedRows, node: String) {
        self.keyIDs = keyIDs
        self.accepts = accepts
        self.node = node
    }

    private init?(text: String, node: String) {
        let words = text.split(separator: " ").map(String.init)
        guard let first = words.first, let accepts = AcceptedRows(rawValue: first) else { return nil }
        self.init(keyIDs: Array(words.dropFirst()), accepts: accepts, node: node)
    }

    private var text: String { ([accepts.rawValue] + keyIDs).joined(separator: " ") }

    private func associated(_ id: String) -> Data { Data("starling encryption \(node) \(id)".utf8) }
}
