/// The name of a register: 1–512 bytes of UTF-8 without control characters; `:` separates segments.
///
/// Keys are equal, and ordered, by their bytes: never by Unicode canonical equivalence, which would make two keys of
/// one client the same key for another.
package struct Key: Hashable, Comparable, Sendable {
    /// The greatest length of a key, in bytes.
    package static let maximumLength = 512

    /// The byte that separates segments.
    package static let separator = UInt8(ascii: ":")

    /// What has the key's bytes, and may have more: whoever keeps a key for long keeps ``detached``.
    package let record: Record

    package init(_ record: Record) { self.record = record }

    /// A copy of its bytes.
    package var bytes: [UInt8] { record.keyBytes }

    @inlinable
    package var count: Int { record.keyCount }

    /// Its bytes, without a copy.
    @inlinable
    @inline(__always)
    package func withBytes<Result, Failure>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try record.withKey(body)
    }

    /// The same, which keeps nothing but itself in memory.
    package var detached: Key { Key(record.bare) }

    /// Checks `bytes` and makes a key of them.
    ///
    /// - Throws: ``TextError`` when they are empty, too long, not UTF-8, or hold a control character.
    package init(_ bytes: [UInt8]) throws(TextError) {
        try Self.validate(bytes.span)
        record = Record(key: bytes.span)
    }

    /// Checks `text` and makes a key of it.
    package init(_ text: String) throws(TextError) {
        try self.init(Array(text.utf8))
    }

    /// Makes a key of bytes that have been checked before: those that this process stored itself.
    package init(unchecked bytes: [UInt8]) {
        record = Record(key: bytes.span)
    }

    /// Checks that `bytes` may stand as a key.
    package static func validate(_ bytes: Span<UInt8>) throws(TextError) {
        try TextError.check(bytes, what: .key, maximumLength: maximumLength)
    }

    @inlinable
    package static func == (left: Key, right: Key) -> Bool {
        left.record.hasSameKey(as: right.record)
    }

    package static func < (left: Key, right: Key) -> Bool {
        left.withBytes { left in right.withBytes { ByteOrder.compare(left, $0) } } < 0
    }

    @inlinable
    package func hash(into hasher: inout Hasher) { hasher.combine(record.hash) }
}

extension Key: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
