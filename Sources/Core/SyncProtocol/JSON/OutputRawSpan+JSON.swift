import Registers

/// Appending JSON to memory of which there is enough: one check for each piece, and none of a buffer's own.
extension OutputRawSpan {
    mutating func append(_ text: StaticString) {
        text.withUTF8Buffer { append($0.span) }
    }

    /// Appends bytes as they are.
    mutating func append(_ bytes: Span<UInt8>) {
        precondition(bytes.count <= freeCapacity, "less was asked for than is written")
        withUnsafeMutableBytes { memory, count in
            bytes.withUnsafeBytes { bytes in
                UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyMemory(from: bytes)
            }
            count += bytes.count
        }
    }

    /// Appends what a record has in a field, as it is.
    mutating func append(_ field: Record.Field, of record: Record) { _ = record.with(field) { append($0) } }

    /// Appends UTF-8 as a JSON string. It takes up to ``JSONText/greatestLength(of:)`` bytes.
    mutating func append(quoting bytes: Span<UInt8>) {
        append(UInt8(ascii: "\""))
        append(escaping: bytes)
        append(UInt8(ascii: "\""))
    }

    /// Appends UTF-8 as it stands between the quotes of a JSON string.
    private mutating func append(escaping bytes: Span<UInt8>) {
        if JSONText.isPlain(bytes) { return append(bytes) }
        for index in bytes.indices { append(escaped: bytes[index]) }
    }

    private mutating func append(escaped byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            append(UInt8(ascii: "\\"))
            append(byte)
        case 0x0A: append("\\n")
        case 0x0D: append("\\r")
        case 0x09: append("\\t")
        case 0..<0x20:
            append("\\u00")
            append(UInt8(ascii: "0") + byte >> 4)
            append(Hex.digit(UInt64(byte)))
        default: append(byte)
        }
    }

    /// Appends a whole number in decimal: up to 20 digits.
    mutating func append(decimal number: UInt64) {
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var start = 20
        var rest = number
        repeat {
            start -= 1
            digits[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        for index in start..<20 { append(digits[index]) }
    }

    /// Appends the text of a version as a JSON string.
    mutating func append(_ version: Version) {
        append(UInt8(ascii: "\""))
        precondition(Version.prefixLength <= freeCapacity, "less was asked for than is written")
        withUnsafeMutableBytes { memory, count in
            count += version.writePrefix(to: UnsafeMutableRawBufferPointer(rebasing: memory[count...]))
        }
        append(escaping: version.agent.bytes.span)
        append(UInt8(ascii: "\""))
    }
}

extension JSONText {
    /// Whether text stands in a JSON string as it is.
    static func isPlain(_ bytes: Span<UInt8>) -> Bool {
        for index in bytes.indices {
            let byte = bytes[index]
            if byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return false }
        }
        return true
    }

    /// How many bytes text takes as a JSON string at most.
    static func greatestLength(of bytes: Span<UInt8>) -> Int { 2 + (isPlain(bytes) ? bytes.count : 6 * bytes.count) }
}
