package import NIOCore
package import Registers

/// Strings and numbers of JSON, read from their text and written to it.
package enum JSONText {
    /// What a hexadecimal digit stands for; nil: it is none.
    package static func hexValue(_ digit: UInt8) -> UInt16? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(digit - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(digit - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(digit - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    /// The bytes that a scanned string stands for.
    ///
    /// - Returns: nil when an escape names half of a surrogate pair: grammatical, but no text.
    package static func unescape(_ string: JSONScanner.StringSlice, in text: Span<UInt8>) -> [UInt8]? {
        let slice = text.extracting(string.range)
        if !string.hasEscapes { return slice.withUnsafeBufferPointer { Array($0) } }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(slice.count)
        var index = 0
        while index < slice.count {
            guard slice[index] == UInt8(ascii: "\\") else {
                bytes.append(slice[index])
                index += 1
                continue
            }
            let escape = slice[index + 1]
            index += 2
            guard escape == UInt8(ascii: "u") else {
                bytes.append(Self.character(ofEscape: escape))
                continue
            }
            guard let scalar = Self.scalar(slice, at: &index) else { return nil }
            bytes.append(contentsOf: Array(String(Character(scalar)).utf8))
        }
        return bytes
    }

    private static func character(ofEscape escape: UInt8) -> UInt8 {
        switch escape {
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "f"): 0x0C
        case UInt8(ascii: "n"): 0x0A
        case UInt8(ascii: "r"): 0x0D
        case UInt8(ascii: "t"): 0x09
        default: escape
        }
    }

    /// Reads the digits behind `\u`, and a second escape where the first one is half of a pair.
    private static func scalar(_ text: Span<UInt8>, at index: inout Int) -> Unicode.Scalar? {
        func unit() -> UInt16 {
            var value: UInt16 = 0
            for offset in 0..<4 { value = value << 4 | (hexValue(text[index + offset]) ?? 0) }
            index += 4
            return value
        }
        let first = unit()
        guard UTF16.isLeadSurrogate(first) else { return Unicode.Scalar(first) }
        guard index + 6 <= text.count, text[index] == UInt8(ascii: "\\"), text[index + 1] == UInt8(ascii: "u") else {
            return nil
        }
        index += 2
        let second = unit()
        guard UTF16.isTrailSurrogate(second) else { return nil }
        return Unicode.Scalar(0x10000 + (UInt32(first & 0x3FF) << 10 | UInt32(second & 0x3FF)))
    }
}

extension ByteBuffer {
    /// Appends `bytes`, which are UTF-8, as a JSON string.
    package mutating func writeJSONString(_ bytes: [UInt8]) { writeJSONString(bytes.span) }

    package mutating func writeJSONString(_ bytes: Span<UInt8>) {
        writeWithOutputRawSpan(minimumWritableBytes: JSONText.greatestLength(of: bytes)) { $0.append(quoting: bytes) }
    }

    /// Appends the key of a record as a JSON string.
    mutating func writeKey(_ record: Record) { record.withKey { writeJSONString($0) } }

    package mutating func writeJSONString(_ text: String) {
        writeJSONString(Array(text.utf8))
    }

    /// Appends a revision in decimal.
    package mutating func writeDecimal(_ revision: Revision) { writeDecimal(revision.rawValue) }

    /// Appends a moment as its milliseconds.
    package mutating func writeDecimal(_ time: WallTime) { writeDecimal(time.milliseconds) }

    /// Appends a whole number in decimal.
    package mutating func writeDecimal(_ number: UInt64) {
        writeWithOutputRawSpan(minimumWritableBytes: 20) { $0.append(decimal: number) }
    }
}
