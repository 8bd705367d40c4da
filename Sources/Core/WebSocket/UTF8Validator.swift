/// Validates UTF-8 that arrives in pieces, and fails at the first byte that no valid text could have there
/// (RFC 6455, section 8.1; the table is that of RFC 3629, section 4).
package struct UTF8Validator: Equatable, Sendable {
    /// How many continuation bytes the scalar under way still needs.
    private var needed: UInt8 = 0
    /// The bounds of the next continuation byte: narrower than 80–BF right behind E0, ED, F0 and F4.
    private var lower: UInt8 = 0x80
    private var upper: UInt8 = 0xBF

    package init() {}

    /// Whether the bytes so far end at the end of a scalar.
    package var isComplete: Bool { needed == 0 }

    /// Takes the next bytes. Costs one comparison for eight bytes of ASCII.
    ///
    /// - Returns: false when they cannot be part of valid UTF-8.
    package mutating func consume(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index < bytes.count {
            if needed == 0 {
                while index + 8 <= bytes.count,
                    bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
                {
                    index += 8
                }
                if index == bytes.count { return true }
                guard begin(bytes[index]) else { return false }
            } else {
                guard lower...upper ~= bytes[index] else { return false }
                needed -= 1
                lower = 0x80
                upper = 0xBF
            }
            index += 1
        }
        return true
    }

    private mutating func begin(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x00...0x7F: break
        case 0xC2...0xDF: needed = 1
        case 0xE0...0xEF:
            needed = 2
            if byte == 0xE0 { lower = 0xA0 }
            if byte == 0xED { upper = 0x9F }
        case 0xF0...0xF4:
            needed = 3
            if byte == 0xF0 { lower = 0x90 }
            if byte == 0xF4 { upper = 0x8F }
        default: return false
        }
        return true
    }
}
