import NIOCore
package import SyncProtocol

/// JSON that is changed here and there and written again: members stay in their order, and what is no object and no array stays as it was written.
package indirect enum JSONTree: Equatable, Sendable {
    case object([Member])
    case array([JSONTree])
    /// A string, a number or a word: its text.
    case scalar([UInt8])

    package struct Member: Equatable, Sendable {
        package var name: String
        package var value: JSONTree

        package init(_ name: String, _ value: JSONTree) {
            self.name = name
            self.value = value
        }
    }

    package init(_ text: [UInt8]) throws(JSONError) {
        let start = text.first { !$0.isWhitespace }
        switch start {
        case UInt8(ascii: "{"):
            var members: [Member] = []
            for (name, value) in try JSONObject(text).members { members.append(Member(name, try JSONTree(value))) }
            self = .object(members)
        case UInt8(ascii: "["):
            guard let elements = JSONObject.elements(of: text) else { throw JSONError(.notAnObject, at: 0) }
            var trees: [JSONTree] = []
            for element in elements { trees.append(try JSONTree(element)) }
            self = .array(trees)
        default: self = .scalar(Array(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed()))
        }
    }

    /// Whether a text is one value of JSON.
    package static func isValue(_ text: [UInt8]) -> Bool {
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        scanner.skipWhitespace(text.span)
        guard (try? scanner.skipValue(text.span)) != nil else { return false }
        scanner.skipWhitespace(text.span)
        return scanner.position == text.count
    }

    package init(_ text: String) {
        var buffer = ByteBuffer()
        buffer.writeJSONString(text)
        self = .scalar(Array(buffer.readableBytesView))
    }

    package init(_ number: Int) { self = .scalar(Array("\(number)".utf8)) }

    package var text: String? {
        guard case .scalar(let bytes) = self else { return nil }
        return JSONObject.string(bytes)
    }

    package var number: Int? {
        guard case .scalar(let bytes) = self else { return nil }
        return Int(String(decoding: bytes, as: UTF8.self))
    }

    package var members: [Member]? {
        guard case .object(let members) = self else { return nil }
        return members
    }

    package var elements: [JSONTree]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    /// A member's value; nil: there is none, or this is no object. To set it adds it at the end where there is none; nil removes it.
    package subscript(_ name: String) -> JSONTree? {
        get { members?.first { $0.name == name }?.value }
        set {
            guard case .object(var members) = self else { return }
            let index = members.firstIndex { $0.name == name }
            switch (index, newValue) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append(Member(name, value))
            case (nil, nil): break
            }
            self = .object(members)
        }
    }

    /// The text, two spaces to a level, as the tools write it whose files these are.
    package var pretty: [UInt8] { Array((pretty(indent: "") + "\n").utf8) }

    private func pretty(indent: String) -> String {
        let inner = indent + "  "
        switch self {
        case .scalar(let text): return String(decoding: text, as: UTF8.self)
        case .array(let elements):
            if elements.isEmpty { return "[]" }
            return "[\n" + elements.map { inner + $0.pretty(indent: inner) }.joined(separator: ",\n") + "\n\(indent)]"
        case .object(let members):
            if members.isEmpty { return "{}" }
            let lines = members.map { "\(inner)\(Self.quoted($0.name)): \($0.value.pretty(indent: inner))" }
            return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
        }
    }

    private static func quoted(_ name: String) -> String {
        guard case .scalar(let text) = JSONTree(name) else { return "\"\"" }
        return String(decoding: text, as: UTF8.self)
    }
}

extension UInt8 {
    fileprivate var isWhitespace: Bool { self == 0x20 || self == 0x09 || self == 0x0A || self == 0x0D }
}
