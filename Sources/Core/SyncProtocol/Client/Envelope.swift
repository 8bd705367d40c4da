/// The members of a message's JSON object that the protocol knows: where each value is, and of what kind. What it does
/// not know is checked for grammar and passed over.
struct Envelope {
    enum Field: Int, CaseIterable {
        case type, id, key, value, pattern, timestamp, version, ttl, metadata, session, expect, op, transient
        case since, snapshot, echo, cursors, limit, after, agent, token, fence, until
        case conflated, through, require, writes, delete, release

        var name: String { String(describing: self) }
    }

    struct Slice {
        /// Where the value's text is, with the quotes of a string.
        var range: Range<Int>
        var kind: JSONScanner.Kind
    }

    private static let names: [(bytes: [UInt8], field: Field)] = Field.allCases.map { (Array($0.name.utf8), $0) }

    private var slices = InlineArray<29, Slice?>(repeating: nil)
    /// A known field that stands twice.
    private(set) var repeated: Field?

    subscript(field: Field) -> Slice? { slices[field.rawValue] }

    /// Scans a whole message, and checks that it is one JSON object.
    init(_ text: Span<UInt8>) throws(JSONError) {
        var scanner = JSONScanner()
        scanner.skipWhitespace(text)
        guard scanner.take(UInt8(ascii: "{"), text) else {
            if scanner.position == text.count { throw JSONError(.notAnObject, at: scanner.position) }
            _ = try scanner.skipValue(text)
            throw JSONError(.notAnObject, at: 0)
        }
        scanner.skipWhitespace(text)
        if !scanner.take(UInt8(ascii: "}"), text) {
            repeat {
                scanner.skipWhitespace(text)
                try scanMember(&scanner, text)
                scanner.skipWhitespace(text)
            } while scanner.take(UInt8(ascii: ","), text)
            try scanner.expect(UInt8(ascii: "}"), text)
        }
        scanner.skipWhitespace(text)
        if scanner.position != text.count { throw JSONError(.trailing, at: scanner.position) }
    }

    private mutating func scanMember(_ scanner: inout JSONScanner, _ text: Span<UInt8>) throws(JSONError) {
        let name = try scanner.scanName(text)
        let start = scanner.position
        let kind = try scanner.skipValue(text, depth: 1)
        guard let field = Self.field(name, in: text) else { return }
        if slices[field.rawValue] != nil { repeated = field }
        slices[field.rawValue] = Slice(range: start..<scanner.position, kind: kind)
    }

    private static func field(_ name: JSONScanner.StringSlice, in text: Span<UInt8>) -> Field? {
        if name.hasEscapes {
            guard let bytes = JSONText.unescape(name, in: text) else { return nil }
            return names.first { $0.bytes == bytes }?.field
        }
        let slice = text.extracting(name.range)
        search: for (bytes, field) in names where bytes.count == slice.count {
            for index in bytes.indices where bytes[index] != slice[index] { continue search }
            return field
        }
        return nil
    }
}
