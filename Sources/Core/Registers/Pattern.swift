/// A pattern over keys, the one grammar of subscriptions, access rules, the command line, HTTP and MCP:
///
/// | written | matches |
/// |---|---|
/// | `*` | any run within a segment, also an empty one; at the end of the pattern, the whole rest of the key |
/// | `**` | any run anywhere, also an empty one |
/// | `?` | one Unicode scalar within a segment |
/// | `\` and a character | that character |
/// | anything else | itself |
///
/// So `task:*` matches `task:42:status`, and `*` matches every key. `***` is an error, as are more than 16 wildcards.
package struct Pattern: Sendable {
    /// The greatest length of a pattern, in bytes: a key of the greatest length with each byte escaped.
    package static let maximumLength = 2 * Key.maximumLength
    package static let maximumWildcards = 16

    enum Token: Equatable, Sendable {
        case literal(UInt8)
        case anyScalar
        case anyWithinSegment
        case anyRun
    }

    /// How a pattern can be looked up, from the cheapest way to the dearest.
    package enum Shape: Equatable, Sendable {
        /// No wildcard: it matches this one key.
        case exact([UInt8])
        /// Literal bytes and then anything: it matches a range of keys.
        case prefix([UInt8])
        /// Anything else; every match starts with these literal bytes.
        case general(literalPrefix: [UInt8])
    }

    /// The pattern as it was written.
    package let text: [UInt8]
    package let shape: Shape
    /// Empty where ``shape`` says it all.
    let tokens: [Token]

    /// Reads a pattern.
    ///
    /// - Throws: ``PatternError`` that says what is wrong with it, and where.
    package init(_ text: [UInt8]) throws(PatternError) {
        do throws(TextError) {
            try TextError.check(text.span, what: .pattern, maximumLength: Self.maximumLength)
        } catch {
            throw .text(error)
        }
        let tokens = try Self.tokenize(text)
        self.text = text
        shape = Self.shape(of: tokens)
        if case .general = shape { self.tokens = tokens } else { self.tokens = [] }
    }

    package init(_ text: String) throws(PatternError) {
        try self.init(Array(text.utf8))
    }

    /// The pattern that matches every key.
    package static let everything = Pattern(all: ())

    private init(all: Void) {
        text = [UInt8(ascii: "*")]
        tokens = []
        shape = .prefix([])
    }

    private static func tokenize(_ text: [UInt8]) throws(PatternError) -> [Token] {
        var tokens: [Token] = []
        tokens.reserveCapacity(text.count)
        var wildcards = 0
        var index = 0
        while index < text.count {
            switch text[index] {
            case UInt8(ascii: "\\"):
                guard index + 1 < text.count else { throw .danglingEscape }
                // Whatever bytes follow the first one of an escaped character are literals of their own accord.
                tokens.append(.literal(text[index + 1]))
                index += 2
            case UInt8(ascii: "?"):
                tokens.append(.anyScalar)
                wildcards += 1
                index += 1
            case UInt8(ascii: "*"):
                var stars = 0
                while index + stars < text.count, text[index + stars] == UInt8(ascii: "*") { stars += 1 }
                if stars > 2 { throw .tooManyStars(offset: index) }
                index += stars
                // At the end of the pattern a single star reaches over segments too.
                tokens.append(stars == 2 || index == text.count ? .anyRun : .anyWithinSegment)
                wildcards += 1
            case let byte:
                tokens.append(.literal(byte))
                index += 1
            }
        }
        if wildcards > maximumWildcards { throw .tooManyWildcards(wildcards) }
        return tokens
    }

    private static func shape(of tokens: [Token]) -> Shape {
        var literal: [UInt8] = []
        for (index, token) in tokens.enumerated() {
            if case .literal(let byte) = token {
                literal.append(byte)
            } else if token == .anyRun, index == tokens.count - 1 {
                return .prefix(literal)
            } else {
                return .general(literalPrefix: literal)
            }
        }
        return .exact(literal)
    }

    /// What `text` is written as in a pattern, to stand for itself.
    package static func escaping(_ text: [UInt8]) -> [UInt8] {
        let special = Array("*?\\".utf8)
        return text.flatMap { special.contains($0) ? [UInt8(ascii: "\\"), $0] : [$0] }
    }

    /// The literal bytes that every matching key starts with.
    package var literalPrefix: [UInt8] {
        switch shape {
        case .exact(let bytes), .prefix(let bytes), .general(let bytes): bytes
        }
    }
}

extension Pattern: Hashable {
    package static func == (left: Pattern, right: Pattern) -> Bool { left.text == right.text }

    package func hash(into hasher: inout Hasher) {
        text.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension Pattern: CustomStringConvertible {
    package var description: String { String(decoding: text, as: UTF8.self) }
}

/// What is wrong with a pattern.
package enum PatternError: Error, Equatable, CustomStringConvertible {
    case text(TextError)
    case danglingEscape
    case tooManyStars(offset: Int)
    case tooManyWildcards(Int)

    package var description: String {
        switch self {
        case .text(let error): error.description
        case .danglingEscape: "pattern ends in '\\', which escapes nothing; write '\\\\' for a backslash"
        case .tooManyStars(let offset): "pattern has more than two '*' in a row at byte \(offset)"
        case .tooManyWildcards(let count):
            "pattern has \(count) wildcards; the limit is \(Pattern.maximumWildcards)"
        }
    }
}
