import Crypto
package import Foundation
import Registers
package import SyncEngine
import Synchronization

/// Encrypts values and their metadata where they are stored: AES-256-GCM (NIST SP 800-38D), with a random nonce for each.
///
/// What a row says beside its value, and that a value is this row's, is authenticated with it: key, version and the id of
/// the encryption key. A value put into another row, or an older one put in the place of a newer one, does not decrypt.
package final class ValueCipher: Sendable {
    /// A key, and the id that rows say they are encrypted with.
    package struct EncryptionKey: Sendable {
        package let id: String
        let key: SymmetricKey

        /// Makes a new key of 256 random bits.
        package init(id: String) {
            self.id = id
            key = SymmetricKey(size: .bits256)
        }

        fileprivate init(id: String, key: SymmetricKey) {
            self.id = id
            self.key = key
        }

        /// The line of a key file.
        package var line: String {
            "\(id) \(key.withUnsafeBytes { Data($0) }.base64EncodedString())"
        }
    }

    private struct Keys {
        var current: EncryptionKey
        var all: [String: SymmetricKey]
    }

    package let path: String
    private let keys: Mutex<Keys>

    /// Reads a file of keys: a line each, of an id and the base64 of 32 bytes. New values are encrypted with the first key.
    ///
    /// - Throws: ``StoreError`` that names the line, and never its contents.
    package init(path: String) throws(StoreError) {
        self.path = path
        keys = Mutex(try Self.load(path))
    }

    /// Reads the file again.
    ///
    /// - Parameter needed: the ids of keys that values are encrypted with.
    /// - Returns: whether new values are encrypted with another key now.
    /// - Throws: ``StoreError``; then everything stays as it was.
    package func reload(needed: [String]) throws(StoreError) -> Bool {
        let new = try Self.load(path)
        for id in needed where new.all[id] == nil {
            throw StoreError("\(path) no longer has key \(id), which values are encrypted with")
        }
        return keys.withLock { keys in
            defer { keys = new }
            return keys.current.id != new.current.id
        }
    }

    /// The ids of all keys, that of the current one first.
    package var ids: [String] {
        keys.withLock { keys in [keys.current.id] + keys.all.keys.filter { $0 != keys.current.id }.sorted() }
    }

    package var currentID: String { keys.withLock { $0.current.id } }

    private static func load(_ path: String) throws(StoreError) -> Keys {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw StoreError("cannot read the key file \(path)")
        }
        var first: EncryptionKey?
        var all: [String: SymmetricKey] = [:]
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.isEmpty || line.hasPrefix("#") { continue }
            guard words.count == 2, isValid(id: words[0]), let bytes = Data(base64Encoded: String(words[1])),
                bytes.count == 32
            else { throw StoreError("line \(index + 1) of \(path) is not an id and the base64 of 32 bytes") }
            let id = String(words[0])
            guard all[id] == nil else { throw StoreError("line \(index + 1) of \(path) has the id of another line") }
            let key = SymmetricKey(data: bytes)
            all[id] = key
            if first == nil { first = EncryptionKey(id: id, key: key) }
        }
        guard let first else { throw StoreError("\(path) has no key; 'starling rekey' makes one") }
        return Keys(current: first, all: all)
    }

    private static func isValid(id: Substring) -> Bool {
        1...32 ~= id.utf8.count && id.utf8.allSatisfy { $0 == UInt8(ascii: "-") || isAlphanumeric($0) }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    // MARK: Values

    /// What is stored in the place of a register's value and metadata; nil where it has neither.
    func seal(_ register: Register) throws(StoreError) -> (bytes: [UInt8], keyID: String)? {
        guard register.value != nil || register.metadata != nil else { return nil }
        let key = keys.withLock { $0.current }
        // 0: no value; else one more than its length, so that an empty one is told from none.
        var plain = Data()
        withUnsafeBytes(of: UInt32((register.value?.count ?? -1) + 1).bigEndian) { plain.append(contentsOf: $0) }
        plain.append(contentsOf: register.value ?? [])
        if let metadata = register.metadata { plain.append(contentsOf: metadata) }
        let associated = Self.associatedData(register.key.bytes, register.version.bytes, key.id)
        do {
            let box = try AES.GCM.seal(plain, using: key.key, authenticating: associated)
            guard let bytes = box.combined else { throw StoreError("a value could not be encrypted") }
            return (Array(bytes), key.id)
        } catch {
            throw StoreError("a value could not be encrypted: \(error)")
        }
    }

    /// The value and metadata of a row.
    func open(
        _ sealed: [UInt8], key: [UInt8], version: [UInt8], keyID: String
    ) throws(StoreError) -> (value: [UInt8]?, metadata: [UInt8]?) {
        guard let secret = keys.withLock({ $0.all[keyID] }) else {
            throw StoreError("a value is encrypted with key \(keyID), which is not in \(path)")
        }
        guard let box = try? AES.GCM.SealedBox(combined: sealed),
            let plain = try? AES.GCM.open(
                box, using: secret, authenticating: Self.associatedData(key, version, keyID)),
            plain.count >= 4
        else {
            // SQLITE_CORRUPT: like a page that cannot be read, it is no reason not to read the others.
            throw StoreError(
                "the value of \(String(decoding: key, as: UTF8.self)) does not decrypt: it was altered, or encrypted with "
                    + "another key called \(keyID)", code: 11)
        }
        let bytes = Array(plain)
        let length = Int(bytes[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        guard length <= bytes.count - 3 else { throw StoreError("a value has no length", code: 11) }
        let end = 4 + max(0, length - 1)
        return (length == 0 ? nil : Array(bytes[4..<end]), end < bytes.count ? Array(bytes[end...]) : nil)
    }

    private static func associatedData(_ key: [UInt8], _ version: [UInt8], _ keyID: String) -> Data {
        // None of the three has a zero byte.
        var data = Data(key)
        data.append(0)
        data.append(contentsOf: version)
        data.append(0)
        data.append(contentsOf: keyID.utf8)
        return data
    }
}
