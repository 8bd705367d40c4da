/// Walks over JSON text (RFC 8259) without building anything from it: it checks the grammar, and says where values are.
///
/// The text is a parameter of every call, since a span cannot be kept.
package struct JSONScanner {
    /// The greatest depth of arrays and objects in a message from a client.
    package static let maximumDepth = 128
    /// The greatest depth in a message from a server, which may have a client's value some levels down.
    package static let maximumServerDepth = 160

    /// The kind of a value, told by its first byte.
    package enum Kind: Sendable {
        case object, array, string, number, boolean, null
    }

    /// Where a string's text is, without its quotes.
    package struct StringSlice: Sendable {
        package var range: Range<Int>
        package var hasEscapes: Bool
    }

    /// The offset of the next byte.
    package var position: Int

    private let depthLimit: Int

    package init(position: Int = 0, maximumDepth: Int = maximumDepth) {
        precondition(maximumDepth <= OpenContainers.capacity)
        self.position = position
        depthLimit = maximumDepth
    }

    package mutating func skipWhitespace(_ text: Span<UInt8>) {
        while position < text.count {
            switch text[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    /// Takes `byte`, or throws.
    package mutating func expect(_ byte: UInt8, _ text: Span<UInt8>) throws(JSONError) {
        guard position < text.count else { throw JSONError(.truncated, at: position) }
        guard text[position] == byte else { throw JSONError(.unexpected(text[position]), at: position) }
        position += 1
    }

    /// Takes `byte` if it is next.
    package mutating func take(_ byte: UInt8, _ text: Span<UInt8>) -> Bool {
        guard position < text.count, text[position] == byte else { return false }
        position += 1
        return true
    }

    /// Skips one value, checking all of it. `depth` is how many containers it is in.
    package mutating func skipValue(_ text: Span<UInt8>, depth: Int = 0) throws(JSONError) -> Kind {
        guard position < text.count else { throw JSONError(.truncated, at: position) }
        switch text[position] {
        case UInt8(ascii: "\""):
            _ = try scanString(text)
            return .string
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            let kind: Kind = text[position] == UInt8(ascii: "{") ? .object : .array
            try skipContainer(text, depth: depth)
            return kind
        default:
            return try skipScalar(text)
        }
    }

    /// Skips an array or an object without recursion: which of the two each open container is, is kept in bits.
    private mutating func skipContainer(_ text: Span<UInt8>, depth: Int) throws(JSONError) {
        var open = OpenContainers()
        repeat {
            // At the start of a value, or at the end of an empty container.
            guard position < text.count else { throw JSONError(.truncated, at: position) }
            let byte = text[position]
            if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                guard depth + open.count < depthLimit else { throw JSONError(.tooDeep, at: position) }
                position += 1
                let isObject = byte == UInt8(ascii: "{")
                open.push(isObject)
                skipWhitespace(text)
                if !take(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]"), text) {
                    if isObject { try skipName(text) }
                    continue
                }
                open.pop()
            } else {
                _ = try skipValue(text)
            }
            // Behind a value: close what ends here, then go on to the next value, if there is one.
            while open.count > 0 {
                skipWhitespace(text)
                let isObject = open.isObject
                if take(UInt8(ascii: ","), text) {
                    skipWhitespace(text)
                    if isObject { try skipName(text) }
                    break
                }
                try expect(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]"), text)
                open.pop()
            }
        } while open.count > 0
    }

    /// Which of the open containers are objects, a bit for each, the innermost lowest.
    private struct OpenContainers {
        static let capacity = 256

        private(set) var count = 0
        private var inner: UInt128 = 0
        private var outer: UInt128 = 0

        var isObject: Bool { inner & 1 == 1 }

        mutating func push(_ isObject: Bool) {
            outer = outer << 1 | inner >> 127
            inner = inner << 1 | (isObject ? 1 : 0)
            count += 1
        }

        mutating func pop() {
            inner = inner >> 1 | outer << 127
            outer >>= 1
            count -= 1
        }
    }

    private mutating func skipName(_ text: Span<UInt8>) throws(JSONError) {
        _ = try scanName(text)
    }

    /// Takes a member's name and the colon behind it, up to the value.
    package mutating func scanName(_ text: Span<UInt8>) throws(JSONError) -> StringSlice {
        let name = try scanString(text)
        skipWhitespace(text)
        try expect(UInt8(ascii: ":"), text)
        skipWhitespace(text)
        return name
    }

    /// Takes a string.
    package mutating func scanString(_ text: Span<UInt8>) throws(JSONError) -> StringSlice {
        try expect(UInt8(ascii: "\""), text)
        let start = position
        var hasEscapes = false
        var isASCII = true
        while position < text.count {
            let byte = text[position]
            if byte == UInt8(ascii: "\"") {
                if !isASCII, (try? UTF8Span(validating: text.extracting(start..<position))) == nil {
                    throw JSONError(.invalidUTF8, at: start)
                }
                position += 1
                return StringSlice(range: start..<(position - 1), hasEscapes: hasEscapes)
            } else if byte == UInt8(ascii: "\\") {
                hasEscapes = true
                try skipEscape(text)
            } else if byte < 0x20 {
                throw JSONError(.controlCharacter(byte), at: position)
            } else {
                if byte >= 0x80 { isASCII = false }
                position += 1
            }
        }
        throw JSONError(.truncated, at: position)
    }

    private mutating func skipEscape(_ text: Span<UInt8>) throws(JSONError) {
        guard position + 1 < text.count else { throw JSONError(.truncated, at: text.count) }
        switch text[position + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            position += 2
        case UInt8(ascii: "u"):
            for offset in 2..<6 {
                guard position + offset < text.count else { throw JSONError(.truncated, at: text.count) }
                guard JSONText.hexValue(text[position + offset]) != nil else {
                    throw JSONError(.unexpected(text[position + offset]), at: position + offset)
                }
            }
            position += 6
        case let byte:
            throw JSONError(.unexpected(byte), at: position + 1)
        }
    }

    private mutating func skipScalar(_ text: Span<UInt8>) throws(JSONError) -> Kind {
        switch text[position] {
        case UInt8(ascii: "t"):
            try skipWord("true", text)
            return .boolean
        case UInt8(ascii: "f"):
            try skipWord("false", text)
            return .boolean
        case UInt8(ascii: "n"):
            try skipWord("null", text)
            return .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            try skipNumber(text)
            return .number
        case let byte:
            throw JSONError(.unexpected(byte), at: position)
        }
    }

    private mutating func skipWord(_ word: StaticString, _ text: Span<UInt8>) throws(JSONError) {
        for offset in 0..<word.utf8CodeUnitCount {
            try expect(word.utf8Start[offset], text)
        }
    }

    private mutating func skipNumber(_ text: Span<UInt8>) throws(JSONError) {
        _ = take(UInt8(ascii: "-"), text)
        if !take(UInt8(ascii: "0"), text) { try skipDigits(text) }
        if take(UInt8(ascii: "."), text) { try skipDigits(text) }
        if position < text.count, text[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            if !take(UInt8(ascii: "+"), text) { _ = take(UInt8(ascii: "-"), text) }
            try skipDigits(text)
        }
    }

    private mutating func skipDigits(_ text: Span<UInt8>) throws(JSONError) {
        let start = position
        while position < text.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[position] { position += 1 }
        guard position == start else { return }
        throw position < text.count
            ? JSONError(.unexpected(text[position]), at: position) : JSONError(.truncated, at: position)
    }
}

/// What is wrong with a JSON text, and where.
package struct JSONError: Error, Equatable, CustomStringConvertible {
    package enum Problem: Equatable, Sendable {
        case truncated
        case unexpected(UInt8)
        case controlCharacter(UInt8)
        case invalidUTF8
        case tooDeep
        case trailing
        case notAnObject
    }

    package let problem: Problem
    /// The offset in bytes.
    package let offset: Int

    package init(_ problem: Problem, at offset: Int) {
        self.problem = problem
        self.offset = offset
    }

    package var description: String {
        switch problem {
        case .truncated: "JSON ends too early, at byte \(offset)"
        case .unexpected(let byte):
            "JSON has an unexpected \(Self.show(byte)) at byte \(offset)"
        case .controlCharacter(let byte): "JSON string has an unescaped \(Self.show(byte)) at byte \(offset)"
        case .invalidUTF8: "JSON string at byte \(offset) is not valid UTF-8"
        case .tooDeep: "JSON is nested deeper than \(JSONScanner.maximumDepth) levels at byte \(offset)"
        case .trailing: "JSON goes on behind its end, at byte \(offset); send one object per message"
        case .notAnObject:
            "what is there at byte \(offset) is no JSON object; a message is one, like {\"type\":\"ping\"}"
        }
    }

    private static func show(_ byte: UInt8) -> String {
        0x21...0x7E ~= byte ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x\(String(byte, radix: 16))"
    }
}
