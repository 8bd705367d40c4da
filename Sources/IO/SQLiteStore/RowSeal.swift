import Foundation
import Registers
import SyncEngine
import Synchronization

/// Encrypts the rows of one database, and knows the rows that it did not make.
///
/// A row's value and metadata are encrypted, and all else that it says is authenticated with them: key, version, expiry,
/// session, cause, op, fence and lease, the id of the encryption key and the name of the database. Tombstones carry a seal too, over nothing. A value
/// put into another row, a field that was changed, a row that somebody wrote without the key: none of them is opened.
///
/// Revision and the time of the commit are not authenticated, and neither is that a row is the latest: a whole older row,
/// put back by whoever can write to the file, cannot be told from a row that was never changed.
final class RowSeal: Sendable {
    let cipher: ValueCipher
    /// The name of the database, which is made with it: the row of another one is none of this.
    private let node: [UInt8]
    private let accepted: Mutex<AcceptedRows>

    init(_ cipher: ValueCipher, node: String, accepting accepted: AcceptedRows) {
        self.cipher = cipher
        self.node = Array(node.utf8)
        self.accepted = Mutex(accepted)
    }

    /// Which rows are read beside those of the current format.
    var accepts: AcceptedRows {
        get { accepted.withLock { $0 } }
        set { accepted.withLock { $0 = newValue } }
    }

    // MARK: Sealing

    /// What is stored in the place of a register's value and metadata.
    func seal(_ stored: StoredRegister) throws(StoreError) -> (bytes: [UInt8], keyID: String) {
        let keys = cipher.snapshot
        let id = keys.current.id
        let register = stored.register
        // 0: no value; else one more than its length, so that an empty one is told from none.
        var plain = Data()
        let count = register.record.count(of: .value) ?? -1
        withUnsafeBytes(of: UInt32(count + 1).bigEndian) { plain.append(contentsOf: $0) }
        plain.append(contentsOf: register.value ?? [])
        if let metadata = register.metadata { plain.append(contentsOf: metadata) }
        return (try keys.encrypt(plain, with: id, authenticating: fields(of: stored, id)), id)
    }

    // MARK: Opening

    /// The value and metadata of a row, as they stand in its columns, or encrypted.
    typealias Contents = (value: [UInt8]?, metadata: [UInt8]?)

    /// A row as it is stored.
    struct Row {
        /// All but value and metadata.
        var stored: StoredRegister
        var contents: Contents
        var sealed: [UInt8]?
        var keyID: String
    }

    /// The value and metadata of a row.
    ///
    /// - Throws: ``StoreError`` with the code of a damaged page where it is none of ours: no reason not to read the others.
    func open(_ row: Row) throws(StoreError) -> Contents {
        let accepts = accepts
        let key = row.stored.register.key
        guard let sealed = row.sealed else {
            let isAccepted =
                switch accepts {
                case .sealed: false
                case .older: row.contents.value == nil && row.contents.metadata == nil
                case .plain: true
                }
            if isAccepted { return row.contents }
            throw StoreError(
                "\(key) is not encrypted, in a database that is: it was put there by somebody else",
                code: StoreError.damagedRow)
        }
        let keys = cipher.snapshot
        guard keys.has(row.keyID) else {
            // Which keys are needed was known at the start: that this is one of them is what somebody else has written.
            throw StoreError(
                "\(key) is encrypted with key \(row.keyID), which is not in \(cipher.path)", code: StoreError.damagedRow
            )
        }
        var plain = keys.decrypt(sealed, with: row.keyID, authenticating: fields(of: row.stored, row.keyID))
        if plain == nil, accepts != .sealed {
            plain = keys.decrypt(sealed, with: row.keyID, authenticating: Self.olderFields(of: row.stored, row.keyID))
        }
        guard let plain, let contents = Self.contents(plain) else {
            throw StoreError(
                "\(key) does not decrypt: its row was altered, or encrypted with another key called \(row.keyID)",
                code: StoreError.damagedRow)
        }
        // Tombstones are found by the column.
        guard (contents.value == nil) == (row.contents.value == nil) else {
            throw StoreError(
                "the row of \(key) was altered: it says that it is deleted, or that it is not",
                code: StoreError.damagedRow)
        }
        guard row.contents.value ?? [] == [], row.contents.metadata == nil else {
            throw StoreError(
                "the row of \(key) was altered: it has a plain value or metadata beside the encrypted ones",
                code: StoreError.damagedRow)
        }
        return contents
    }

    /// Whether a row is sealed as ``seal(_:)`` would do it now.
    func isCurrent(_ row: Row) -> Bool {
        let keys = cipher.snapshot
        guard row.keyID == keys.current.id, let sealed = row.sealed else { return false }
        return keys.decrypt(sealed, with: row.keyID, authenticating: fields(of: row.stored, row.keyID)) != nil
    }

    private static func contents(_ plain: [UInt8]) -> Contents? {
        guard plain.count >= 4 else { return nil }
        let length = Int(plain[..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        guard length <= plain.count - 3 else { return nil }
        let end = 4 + max(0, length - 1)
        return (length == 0 ? nil : Array(plain[4..<end]), end < plain.count ? Array(plain[end...]) : nil)
    }

    // MARK: Kept answers

    /// Encrypts an answer, and says with which key.
    func seal(_ answer: inout SealedAnswer, _ text: [UInt8]) throws(StoreError) -> [UInt8] {
        let keys = cipher.snapshot
        answer.keyID = keys.current.id
        return try keys.encrypt(Data(text), with: keys.current.id, authenticating: fields(of: answer))
    }

    /// Whether the key of an answer is there: one that is kept for minutes is not encrypted anew.
    func hasKey(of answer: SealedAnswer) -> Bool { answer.keyID.map { cipher.snapshot.has($0) } ?? true }

    /// - Throws: ``StoreError`` with the code of a damaged page where the answer is none of ours.
    func open(_ answer: SealedAnswer, _ bytes: [UInt8]) throws(StoreError) -> [UInt8] {
        // What was kept before the database was to be encrypted.
        if answer.keyID == nil, accepts == .plain { return bytes }
        let keys = cipher.snapshot
        guard let id = answer.keyID, keys.has(id),
            let text = keys.decrypt(bytes, with: id, authenticating: fields(of: answer))
        else {
            throw StoreError(
                "an answer that is kept does not decrypt: it was altered, or its key is not in \(cipher.path)",
                code: StoreError.damagedRow)
        }
        return text
    }

    private static let answerFormat: UInt8 = 3

    private func fields(of answer: SealedAnswer) -> Data {
        var data = Data([Self.answerFormat])
        for field in [answer.bearer, answer.op, node, Array((answer.keyID ?? "").utf8)] {
            withUnsafeBytes(of: UInt32(field.count).bigEndian) { data.append(contentsOf: $0) }
            data.append(contentsOf: field)
        }
        withUnsafeBytes(of: answer.answeredAt.bigEndian) { data.append(contentsOf: $0) }
        return data
    }

    // MARK: What is authenticated

    private static let format: UInt8 = 2

    /// All that a row says beside its value and metadata: each field with its length in front, so that no two rows say the same.
    private func fields(of stored: StoredRegister, _ keyID: String) -> Data {
        let register = stored.register
        var data = Data([Self.format])
        func add(_ bytes: some Sequence<UInt8>, _ count: Int) {
            withUnsafeBytes(of: UInt32(count).bigEndian) { data.append(contentsOf: $0) }
            data.append(contentsOf: bytes)
        }
        func add(_ bytes: [UInt8]?) {
            guard let bytes else { return data.append(0) }
            data.append(1)
            add(bytes, bytes.count)
        }
        func add(_ number: UInt64?) {
            guard let number else { return data.append(0) }
            data.append(1)
            withUnsafeBytes(of: number.bigEndian) { data.append(contentsOf: $0) }
        }
        add(register.key.bytes, register.key.bytes.count)
        add(register.version.bytes, register.version.bytes.count)
        add(keyID.utf8, keyID.utf8.count)
        add(node, node.count)
        add(register.expiresAt?.milliseconds)
        add(register.session)
        add(register.cause.map { Array($0.rawValue.utf8) })
        add(stored.op)
        add(stored.fence.rawValue)
        add(stored.binding.map { UInt64(bitPattern: $0.rawValue) })
        return data
    }

    /// What was authenticated in the first format, before everything was: key, version and the id of the encryption key. None
    /// of the three has a zero byte.
    private static func olderFields(of stored: StoredRegister, _ keyID: String) -> Data {
        var data = Data(stored.register.key.bytes)
        data.append(0)
        data.append(contentsOf: stored.register.version.bytes)
        data.append(0)
        data.append(contentsOf: keyID.utf8)
        return data
    }
}

extension Record {
    /// The same with what a row had encrypted.
    func with(_ contents: RowSeal.Contents) -> Record {
        let session = bytes(of: .session)
        let op = bytes(of: .op)
        return with(
            value: contents.value?.span, metadata: contents.metadata?.span, session: session?.span, op: op?.span)
    }
}

/// Which rows of an encrypted database are read, beside those that are sealed as a whole.
enum AcceptedRows: String, Sendable {
    /// None.
    case sealed
    /// Those of the first format: values without the rest of the row, tombstones without anything. Only where a database is read
    /// by a command; no server opens one.
    case older
    /// Those, and what is not encrypted: a database that somebody has said is to be encrypted from now on.
    case plain
}
