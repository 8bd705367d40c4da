import SyncProtocol

/// What a hook says to whoever works: facts that it may want to know, and never what it is to do, or may not.
package struct HookReply: Sendable {
    /// How long it is at most, in bytes: harnesses take up to 10,000 characters, and what stands there is read each time.
    package static let maximumLength = 2_000

    private var lines: [[UInt8]] = []
    private var length = 0

    package init() {}

    package var isEmpty: Bool { lines.isEmpty }

    /// Adds a line, as far as there is room for it.
    package mutating func add(_ line: [UInt8], maximumLength: Int = 400) {
        let line = FileEdit.prefix(of: Self.printable(line), maximumLength)
        guard !line.isEmpty, length + line.count + 1 <= Self.maximumLength else { return }
        lines.append(line)
        length += line.count + 1
    }

    package mutating func add(_ line: String) { add(Array(line.utf8)) }

    /// On one line, without what moves a terminal or pretends to be somebody else's line.
    private static func printable(_ text: [UInt8]) -> [UInt8] {
        let scalars = String(decoding: text, as: UTF8.self).unicodeScalars.map { scalar in
            scalar.value < 0x20 || 0x7F...0x9F ~= scalar.value || scalar.properties.isBidiControl
                || scalar.value == 0x2028 || scalar.value == 0x2029 ? " " : scalar
        }
        return Array(String(String.UnicodeScalarView(scalars)).utf8)
    }

    /// What goes out to a harness: `{}` where there is nothing to say.
    package func json(event: String) -> [UInt8] {
        guard !isEmpty else { return Array("{}".utf8) }
        var inner = JSONWriter()
        inner.add("hookEventName", event)
        inner.add("additionalContext", Array(lines.joined(separator: [UInt8(ascii: "\n")])))
        var object = JSONWriter()
        object.add("hookSpecificOutput", raw: inner.finish())
        return object.finish()
    }
}

/// The words by which what may be of use is looked for.
package enum PromptWords {
    private static let maximumWords = 8
    private static let lengths = 3...48
    /// Words that are in most texts, and say nothing of any.
    private static let common: Set<String> = [
        "about", "after", "again", "all", "also", "and", "any", "are", "because", "been", "before", "but", "can",
        "could", "did",
        "does", "done", "each", "every", "for", "from", "get", "give", "have", "how", "into", "its", "just", "let",
        "like", "make",
        "may", "more", "most", "much", "must", "need", "new", "not", "now", "one", "only", "other", "our", "out",
        "over", "please",
        "same", "shall", "should", "show", "some", "such", "than", "that", "the", "their", "them", "then", "there",
        "these", "they",
        "this", "those", "through", "under", "use", "using", "very", "want", "was", "way", "were", "what", "when",
        "where", "which",
        "while", "who", "why", "will", "with", "would", "you", "your",
    ]

    /// A query for texts that have one of the words of a text: the longest of them, which are in the fewest texts; nil: it has none.
    package static func query(_ text: [UInt8]) -> [UInt8]? {
        var words: [String] = []
        var seen: Set<String> = []
        for part in String(decoding: text, as: UTF8.self).lowercased().split(whereSeparator: {
            !$0.isLetter && !$0.isNumber
        }) {
            let word = String(part)
            guard lengths ~= word.utf8.count, !common.contains(word), seen.insert(word).inserted else { continue }
            words.append(word)
        }
        let chosen = words.enumerated().sorted {
            ($1.element.utf8.count, $0.offset) < ($0.element.utf8.count, $1.offset)
        }
        .prefix(maximumWords).map { "\"\($0.element)\"" }
        return chosen.isEmpty ? nil : Array(chosen.joined(separator: " OR ").utf8)
    }
}
