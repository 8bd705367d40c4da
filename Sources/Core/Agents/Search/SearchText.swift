import SyncProtocol

/// The text of values, for an index and for people.
package enum SearchText {
    /// How much of a value is looked through, in bytes.
    package static let maximumLength = 64 << 10

    /// The strings and numbers of a value in their order, names of members too, with spaces in between.
    package static func plain(_ json: [UInt8]) -> [UInt8] {
        let span = json.span
        var text: [UInt8] = []
        var index = 0
        while index < json.count, text.count < maximumLength {
            switch json[index] {
            case UInt8(ascii: "\""):
                var scanner = JSONScanner(position: index)
                guard let slice = try? scanner.scanString(span) else { return text }
                // Half of a pair is no text; what stands around it is.
                add(JSONText.unescape(slice, in: span) ?? Array(json[slice.range]), to: &text)
                index = scanner.position
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
                let start = index
                while index < json.count, isOfNumber(json[index]) { index += 1 }
                add(json[start..<index], to: &text)
            default: index += 1
            }
        }
        return TextPrefix.of(text, maximumLength)
    }

    private static func isOfNumber(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."),
            UInt8(ascii: "e"), UInt8(ascii: "E"):
            true
        default: false
        }
    }

    private static func add(_ bytes: some Collection<UInt8>, to text: inout [UInt8]) {
        if !text.isEmpty { text.append(UInt8(ascii: " ")) }
        // A zero ends texts of SQLite's.
        text.append(contentsOf: bytes.lazy.map { $0 == 0 ? UInt8(ascii: " ") : $0 })
    }

    // MARK: Snippets

    /// How long a snippet is at most, in bytes, and how much of that stands in front of the word.
    private static let snippetLength = 240
    private static let lead = 60

    /// A part of a text, from where one of some words stands first; the beginning where none does.
    package static func snippet(of text: [UInt8], around words: [[UInt8]]) -> [UInt8] {
        let lower = words.map { $0.map(lowercased) }
        let found = text.indices.first { index in
            isStart(index, of: text) && lower.contains { stands($0, at: index, in: text) }
        }
        let start = TextPrefix.boundary(before: max(0, (found ?? 0) - lead), in: text)
        let end = TextPrefix.boundary(before: start + snippetLength, in: text)
        let ellipsis = Array("…".utf8)
        let part = text[start..<end].map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: " ") : $0 }
        return (start > 0 ? ellipsis : []) + part + (end < text.count ? ellipsis : [])
    }

    private static func isStart(_ index: Int, of text: [UInt8]) -> Bool {
        guard index > 0 else { return true }
        return !isASCIIWord(text[index - 1])
    }

    private static func isASCIIWord(_ byte: UInt8) -> Bool {
        switch lowercased(byte) {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }

    private static func stands(_ word: [UInt8], at index: Int, in text: [UInt8]) -> Bool {
        guard index + word.count <= text.count else { return false }
        for offset in word.indices where lowercased(text[index + offset]) != word[offset] { return false }
        return true
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte ? byte | 0x20 : byte
    }
}
