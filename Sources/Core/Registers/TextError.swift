/// Why some text cannot be a key, a pattern, an agent's name or another short name.
package struct TextError: Error, Equatable, CustomStringConvertible {
    /// The kind of text that was checked.
    package enum What: String, Sendable {
        case key
        case pattern
        case agent = "agent name"
        case session
        case op
        case id
        case name
    }

    package enum Problem: Equatable, Sendable {
        case empty
        case tooLong(bytes: Int, limit: Int)
        case invalidUTF8
        case controlCharacter(offset: Int)
    }

    package let what: What
    package let problem: Problem

    package init(what: What, problem: Problem) {
        self.what = what
        self.problem = problem
    }

    package var description: String {
        switch problem {
        case .empty: "\(what.rawValue) is empty; it needs at least 1 byte"
        case .tooLong(let bytes, let limit): "\(what.rawValue) is \(bytes) bytes; the limit is \(limit)"
        case .invalidUTF8: "\(what.rawValue) is not valid UTF-8"
        case .controlCharacter(let offset): "\(what.rawValue) has a control character at byte \(offset)"
        }
    }

    /// Checks that `bytes` are 1…`maximumLength` bytes of UTF-8 without control characters (Unicode category Cc).
    package static func check(_ bytes: Span<UInt8>, what: What, maximumLength: Int) throws(TextError) {
        if bytes.isEmpty { throw TextError(what: what, problem: .empty) }
        if bytes.count > maximumLength {
            throw TextError(what: what, problem: .tooLong(bytes: bytes.count, limit: maximumLength))
        }
        var ascii = true
        for index in bytes.indices {
            let byte = bytes[index]
            // C0 and DEL are one byte; C1 (U+0080–U+009F) is C2 followed by 80–9F.
            if byte < 0x20 || byte == 0x7F || (byte & 0xE0 == 0x80 && index > 0 && bytes[index - 1] == 0xC2) {
                throw TextError(what: what, problem: .controlCharacter(offset: index))
            }
            if byte >= 0x80 { ascii = false }
        }
        if !ascii, (try? UTF8Span(validating: bytes)) == nil {
            throw TextError(what: what, problem: .invalidUTF8)
        }
    }
}
