import SyncProtocol

/// A JSON object of which some members are looked at: without a copy of any, so that what nobody asks for costs little, however much it is.
struct HookJSON {
    /// The longest name of a member that anybody asks for, in bytes.
    private static let longestName = 32
    /// How many members are looked at; what stands behind more is nothing.
    private static let maximumMembers = 1_024

    private let text: [UInt8]
    /// Where the value of each member is; of two of a name the last one counts, as with those who read it elsewhere.
    private var places: [String: Range<Int>] = [:]

    /// - Returns: nil where it is no object.
    init?(_ text: [UInt8]) { self.init(text, at: 0..<text.count) }

    private init?(_ text: [UInt8], at range: Range<Int>) {
        self.text = text
        let span = text.span
        var scanner = JSONScanner(position: range.lowerBound, maximumDepth: JSONScanner.maximumServerDepth)
        scanner.skipWhitespace(span)
        guard scanner.take(UInt8(ascii: "{"), span) else { return nil }
        scanner.skipWhitespace(span)
        if !scanner.take(UInt8(ascii: "}"), span) {
            repeat {
                scanner.skipWhitespace(span)
                guard let name = try? scanner.scanName(span) else { return nil }
                let start = scanner.position
                guard (try? scanner.skipValue(span, depth: 1)) != nil else { return nil }
                if name.range.count <= Self.longestName, places.count < Self.maximumMembers,
                    let name = JSONText.unescape(name, in: span)
                {
                    places[String(decoding: name, as: UTF8.self)] = start..<scanner.position
                }
                scanner.skipWhitespace(span)
            } while scanner.take(UInt8(ascii: ","), span)
            guard scanner.take(UInt8(ascii: "}"), span) else { return nil }
        }
        scanner.skipWhitespace(span)
        guard scanner.position == range.upperBound else { return nil }
    }

    /// A value within the text.
    struct Value {
        fileprivate let text: [UInt8]
        fileprivate let range: Range<Int>

        /// How much of the text it is, in bytes.
        var size: Int { range.count }

        var isString: Bool { text[range.lowerBound] == UInt8(ascii: "\"") }

        var object: HookJSON? { HookJSON(text, at: range) }

        var word: ArraySlice<UInt8> { text[range] }

        /// The whole text of a string.
        var string: [UInt8]? { isString ? JSONObject.string(Array(text[range])).map { Array($0.utf8) } : nil }

        /// The beginning of a string's text, without half a character.
        ///
        /// - Returns: nil where it is no string, or has half of a pair of surrogates in it.
        func string(_ limit: Int) -> (text: [UInt8], isCut: Bool)? {
            guard isString else { return nil }
            let content = range.lowerBound + 1..<range.upperBound - 1
            // A character takes six bytes at most for each of its own, escaped.
            guard content.count > limit * 6 + 12 else {
                return string.map { (TextPrefix.of($0, limit), $0.count > limit) }
            }
            var end = content.lowerBound
            while end < content.lowerBound + limit * 6 {
                let isEscape = text[end] == UInt8(ascii: "\\")
                let isUnicode = isEscape && text[end + 1] == UInt8(ascii: "u")
                // The first half of a pair, by the second digit of what it begins with: D8 to DB.
                let isPair =
                    isUnicode && text[end + 2] | 0x20 == UInt8(ascii: "d") && "89abAB".utf8.contains(text[end + 3])
                end += isPair ? 12 : isUnicode ? 6 : isEscape ? 2 : 1
            }
            while end > content.lowerBound, text[end] & 0xC0 == 0x80 { end -= 1 }
            let quote = [UInt8(ascii: "\"")]
            return JSONObject.string(quote + text[content.lowerBound..<end] + quote).map {
                (TextPrefix.of(Array($0.utf8), limit), true)
            }
        }

        /// How many lines a string has, without taking it apart.
        var lineCount: Int {
            var count = 0
            var isOpen = false
            var index = range.lowerBound + 1
            while index < range.upperBound - 1 {
                let isEscape = text[index] == UInt8(ascii: "\\")
                let ends = isEscape && text[index + 1] == UInt8(ascii: "n")
                count += ends ? 1 : 0
                isOpen = !ends
                index += isEscape ? 2 : 1
            }
            return isOpen ? count + 1 : count
        }

        /// The first elements of an array, and how many there are; nil: it is none.
        func elements(_ limit: Int) -> (first: [Value], count: Int)? {
            let span = text.span
            var scanner = JSONScanner(position: range.lowerBound, maximumDepth: JSONScanner.maximumServerDepth)
            guard scanner.take(UInt8(ascii: "["), span) else { return nil }
            scanner.skipWhitespace(span)
            if scanner.take(UInt8(ascii: "]"), span) { return ([], 0) }
            var first: [Value] = []
            var count = 0
            repeat {
                scanner.skipWhitespace(span)
                let start = scanner.position
                guard (try? scanner.skipValue(span, depth: 1)) != nil else { return nil }
                if count < limit { first.append(Value(text: text, range: start..<scanner.position)) }
                count += 1
                scanner.skipWhitespace(span)
            } while scanner.take(UInt8(ascii: ","), span)
            return (first, count)
        }
    }

    subscript(_ name: String) -> Value? { places[name].map { Value(text: text, range: $0) } }

    func string(_ name: String, _ limit: Int) -> [UInt8]? { self[name]?.string(limit)?.text }

    /// A text that is of no use when it is cut.
    func whole(_ name: String, _ limit: Int) -> [UInt8]? {
        guard let (text, isCut) = self[name]?.string(limit), !isCut, !text.isEmpty else { return nil }
        return text
    }

    func object(_ name: String) -> HookJSON? { self[name]?.object }

    func bool(_ name: String) -> Bool? { self[name].flatMap { Bool(String(decoding: $0.word, as: UTF8.self)) } }

    func integer(_ name: String) -> Int? {
        guard let word = self[name]?.word, word.count <= 12, let number = Int(String(decoding: word, as: UTF8.self)),
            0...1_000_000_000 ~= number
        else { return nil }
        return number
    }
}
