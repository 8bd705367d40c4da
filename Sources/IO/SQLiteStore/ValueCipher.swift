import Crypto
import Foundation
import Registers
package import SyncEngine
import Synchronization

/// Encrypts what is stored: AES-256-GCM (NIST SP 800-38D), with a random nonce for each. What is encrypted, and what is
/// authenticated with it, is ``RowSeal``'s to say.
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

    /// What a file of keys says.
    struct Keys: Sendable {
        fileprivate(set) var current: EncryptionKey
        fileprivate var all: [String: SymmetricKey]

        func has(_ id: String) -> Bool { all[id] != nil }

        /// - Parameter associated: what is authenticated with it, and not stored.
        /// - Returns: nonce, ciphertext and tag.
        func encrypt(_ plain: Data, with id: String, authenticating associated: Data) throws(StoreError) -> [UInt8] {
            guard let key = all[id] else { throw StoreError("there is no key \(id)") }
            do {
                let box = try AES.GCM.seal(plain, using: key, authenticating: associated)
                guard let bytes = box.combined else { throw StoreError("a value could not be encrypted") }
                return Array(bytes)
            } catch {
                throw StoreError("a value could not be encrypted: \(error)")
            }
        }

        /// - Returns: nil where it is not what ``encrypt(_:with:authenticating:)`` gave for the same associated data.
        func decrypt(_ sealed: [UInt8], with id: String, authenticating associated: Data) -> [UInt8]? {
            guard let key = all[id], let box = try? AES.GCM.SealedBox(combined: sealed),
                let plain = try? AES.GCM.open(box, using: key, authenticating: associated)
            else { return nil }
            return Array(plain)
        }
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
    /// - Parameter check: is given the new keys, and throws where they are not those that values are encrypted with.
    /// - Returns: whether new values are encrypted with another key now.
    /// - Throws: ``StoreError``; then everything stays as it was.
    func reload(_ check: (Keys) throws(StoreError) -> Void) throws(StoreError) -> Bool {
        let new = try Self.load(path)
        try check(new)
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

    /// All keys, as they are now.
    var snapshot: Keys { keys.withLock { $0 } }

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
}
