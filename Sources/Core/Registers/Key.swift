/// The name of a register: 1–512 bytes of UTF-8 without control characters; `:` separates segments.
///
/// Keys are equal, and ordered, by their bytes: never by Unicode canonical equivalence, which would make two keys of
/// one client the same key for another.
package struct Key: Hashable, Comparable, Sendable {
    /// The greatest length of a key, in bytes.
    package static let maximumLength = 512

    /// The byte that separates segments.
    package static let separator = UInt8(ascii: ":")

    package let bytes: [UInt8]

    /// Checks `bytes` and makes a key of them.
    ///
    /// - Throws: ``TextError`` when they are empty, too long, not UTF-8, or hold a control character.
    package init(_ bytes: [UInt8]) throws(TextError) {
        try Self.validate(bytes.span)
        self.bytes = bytes
    }

    /// Checks `text` and makes a key of it.
    package init(_ text: String) throws(TextError) {
        try self.init(Array(text.utf8))
    }

    /// Makes a key of bytes that have been checked before: those that this process stored itself.
    package init(unchecked bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Checks that `bytes` may stand as a key.
    package static func validate(_ bytes: Span<UInt8>) throws(TextError) {
        try TextError.check(bytes, what: .key, maximumLength: maximumLength)
    }

    package static func == (left: Key, right: Key) -> Bool {
        ByteOrder.areEqual(left.bytes, right.bytes)
    }

    package static func < (left: Key, right: Key) -> Bool {
        ByteOrder.compare(left.bytes, right.bytes) < 0
    }

    package func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension Key: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
