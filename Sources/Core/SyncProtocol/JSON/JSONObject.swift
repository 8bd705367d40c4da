/// A JSON object taken apart into its members, each value left as its text: for clients, tools and tests, where ease
/// counts for more than speed.
package struct JSONObject: Sendable {
    /// The members in the order they came.
    package let members: [(name: String, value: [UInt8])]

    /// - Throws: ``JSONError`` when `text` is not one JSON object.
    package init(_ text: [UInt8]) throws(JSONError) {
        let span = text.span
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        var members: [(name: String, value: [UInt8])] = []
        scanner.skipWhitespace(span)
        guard scanner.take(UInt8(ascii: "{"), span) else { throw JSONError(.notAnObject, at: scanner.position) }
        scanner.skipWhitespace(span)
        if !scanner.take(UInt8(ascii: "}"), span) {
            repeat {
                scanner.skipWhitespace(span)
                let name = try scanner.scanName(span)
                let start = scanner.position
                _ = try scanner.skipValue(span, depth: 1)
                members.append(
                    (
                        String(decoding: JSONText.unescape(name, in: span) ?? [], as: UTF8.self),
                        Array(text[start..<scanner.position])
                    ))
                scanner.skipWhitespace(span)
            } while scanner.take(UInt8(ascii: ","), span)
            try scanner.expect(UInt8(ascii: "}"), span)
        }
        scanner.skipWhitespace(span)
        if scanner.position != span.count { throw JSONError(.trailing, at: scanner.position) }
        self.members = members
    }

    private init(members: [(name: String, value: [UInt8])]) {
        self.members = members
    }

    /// An object without members.
    package init() { self.init(members: []) }

    /// The object with one more member at its end.
    package func adding(_ name: String, _ value: [UInt8]) -> JSONObject {
        JSONObject(members: members + [(name, value)])
    }

    /// The text of a member's value.
    package func raw(_ name: String) -> [UInt8]? {
        members.first { $0.name == name }?.value
    }

    /// A member's value, where that is a string.
    package func string(_ name: String) -> String? {
        raw(name).flatMap(Self.string)
    }

    package func integer(_ name: String) -> Int64? {
        raw(name).flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
    }

    package func bool(_ name: String) -> Bool? {
        raw(name).flatMap { Bool(String(decoding: $0, as: UTF8.self)) }
    }

    /// A member's value, where that is an object.
    package func object(_ name: String) -> JSONObject? {
        raw(name).flatMap { try? JSONObject($0) }
    }

    /// The elements of a member's value, where that is an array.
    package func array(_ name: String) -> [[UInt8]]? {
        raw(name).flatMap { try? JSONObject.elements($0) }
    }

    /// What a JSON string stands for.
    package static func string(_ text: [UInt8]) -> String? {
        var scanner = JSONScanner()
        guard let slice = try? scanner.scanString(text.span), scanner.position == text.count else { return nil }
        return JSONText.unescape(slice, in: text.span).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The elements of an array; nil where it is none.
    package static func elements(of text: [UInt8]) -> [[UInt8]]? { try? elements(text) }

    private static func elements(_ text: [UInt8]) throws(JSONError) -> [[UInt8]] {
        let span = text.span
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        var elements: [[UInt8]] = []
        try scanner.expect(UInt8(ascii: "["), span)
        scanner.skipWhitespace(span)
        if scanner.take(UInt8(ascii: "]"), span) { return [] }
        repeat {
            scanner.skipWhitespace(span)
            let start = scanner.position
            _ = try scanner.skipValue(span, depth: 1)
            elements.append(Array(text[start..<scanner.position]))
            scanner.skipWhitespace(span)
        } while scanner.take(UInt8(ascii: ","), span)
        try scanner.expect(UInt8(ascii: "]"), span)
        return elements
    }
}
