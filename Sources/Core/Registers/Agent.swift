/// The name of a writer: 1–64 bytes of UTF-8 without control characters.
package struct Agent: Hashable, Sendable {
    package static let maximumLength = 64

    package let bytes: [UInt8]

    package init(_ bytes: Span<UInt8>) throws(TextError) {
        try TextError.check(bytes, what: .agent, maximumLength: Self.maximumLength)
        self.bytes = bytes.withUnsafeBufferPointer { Array($0) }
    }

    package init(_ text: String) throws(TextError) {
        try self.init(Array(text.utf8).span)
    }

    /// A name for a connection that gave none: `anon-` and the 64 bits of `random` in hex.
    package init(random: UInt64) {
        var text = Array("anon-".utf8)
        for shift in stride(from: 60, through: 0, by: -4) {
            text.append(Hex.digit(random >> UInt64(shift)))
        }
        bytes = text
    }

    package func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension Agent: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
