import Registers

/// Typed access to the fields of a call. An optional field that is null counts as absent.
struct CallFields {
    private let object: JSONObject
    private let type: String

    init(_ object: JSONObject, of type: String) {
        self.object = object
        self.type = type
    }

    static func wrong(_ name: String, _ expected: String) -> WireError {
        WireError(.badMessage, "field \"\(name)\" must be \(expected)")
    }

    func missing(_ name: String, hint: String? = nil) -> WireError {
        WireError(.missingField, "field \"\(name)\" of \(type) is missing", hint: hint)
    }

    /// A field that stands twice.
    var repeated: String? {
        // Most have a handful, which are compared faster than they are gathered.
        guard object.members.count > 16 else {
            return object.members.indices.first { index in
                object.members[..<index].contains { $0.name == object.members[index].name }
            }.map { object.members[$0].name }
        }
        var seen: Set<String> = []
        return object.members.first { !seen.insert($0.name).inserted }?.name
    }

    /// A field that is none of `known`.
    func unknown(beside known: Set<String>, _ others: String...) -> String? {
        object.members.first { !known.contains($0.name) && !others.contains($0.name) }?.name
    }

    /// The text of a field that is there, and not null.
    func raw(_ name: String) -> [UInt8]? {
        guard let text = object.raw(name), text != Self.null else { return nil }
        return text
    }

    private static let null = Array("null".utf8)

    func string(_ name: String) throws(WireError) -> [UInt8]? {
        guard let text = raw(name) else { return nil }
        guard let string = Self.string(text) else { throw Self.wrong(name, "a string") }
        return string
    }

    private static func string(_ text: [UInt8]) -> [UInt8]? {
        var scanner = JSONScanner()
        guard let slice = try? scanner.scanString(text.span), scanner.position == text.count else { return nil }
        return JSONText.unescape(slice, in: text.span)
    }

    /// A short text, like a role.
    func text(_ name: String, maximumLength: Int = Segment.maximumLength) throws(WireError) -> [UInt8]? {
        guard let bytes = try string(name) else { return nil }
        guard 1...maximumLength ~= bytes.count else {
            throw Self.wrong(name, "1 to \(maximumLength) bytes; it is \(bytes.count)")
        }
        return bytes
    }

    func segment(_ name: String) throws(WireError) -> Segment {
        guard let segment = try optionalSegment(name) else { throw missing(name) }
        return segment
    }

    func optionalSegment(_ name: String) throws(WireError) -> Segment? {
        guard let bytes = try string(name) else { return nil }
        return try Self.segment(bytes, of: name)
    }

    private static func segment(_ bytes: [UInt8], of name: String) throws(WireError) -> Segment {
        do throws(TextError) {
            return try Segment(bytes.span)
        } catch {
            throw WireError(.badKey, "field \"\(name)\": \(error.description)")
        }
    }

    func segments(_ name: String, maximum: Int) throws(WireError) -> [Segment] {
        var segments: [Segment] = []
        for bytes in try strings(name, maximum: maximum) { segments.append(try Self.segment(bytes, of: name)) }
        return segments
    }

    /// The texts of an array of strings, each of which stands once.
    func strings(_ name: String, maximum: Int) throws(WireError) -> [[UInt8]] {
        guard let text = raw(name) else { return [] }
        guard let elements = JSONObject.elements(of: text) else { throw Self.wrong(name, "an array of strings") }
        guard elements.count <= maximum else {
            throw WireError(.badMessage, "\"\(name)\" has \(elements.count) elements; the limit is \(maximum)")
        }
        var strings: [[UInt8]] = []
        var seen: Set<[UInt8]> = []
        for element in elements {
            guard let string = Self.string(element), string.count <= Key.maximumLength else {
                throw Self.wrong(name, "an array of strings of \(Key.maximumLength) bytes at most")
            }
            if seen.insert(string).inserted { strings.append(string) }
        }
        return strings
    }

    /// The objects of an array, with what names each in an error.
    func objects(_ name: String, _ bounds: ClosedRange<Int>) throws(WireError) -> [CallFields] {
        guard let text = raw(name) else { throw missing(name) }
        guard let elements = JSONObject.elements(of: text) else { throw Self.wrong(name, "an array of objects") }
        guard bounds.contains(elements.count) else {
            throw WireError(
                .badMessage,
                "\"\(name)\" has \(bounds.lowerBound) to \(bounds.upperBound) elements; there are \(elements.count)")
        }
        var objects: [CallFields] = []
        for (index, element) in elements.enumerated() {
            guard let object = try? JSONObject(element) else { throw Self.wrong("\(name)[\(index)]", "an object") }
            let fields = CallFields(object, of: "\(name)[\(index)]")
            if let repeated = fields.repeated {
                throw WireError(.badMessage, "\(name)[\(index)]: field \"\(repeated)\" stands twice")
            }
            objects.append(fields)
        }
        return objects
    }

    func bool(_ name: String) throws(WireError) -> Bool? {
        guard let text = raw(name) else { return nil }
        guard let value = Bool(String(decoding: text, as: UTF8.self)) else { throw Self.wrong(name, "true or false") }
        return value
    }

    func integer(_ name: String, in bounds: ClosedRange<Int>) throws(WireError) -> Int? {
        guard let text = raw(name) else { return nil }
        guard let value = Int(String(decoding: text, as: UTF8.self)), bounds.contains(value) else {
            throw Self.wrong(name, "a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }

    /// A time in seconds, in milliseconds.
    func seconds(_ name: String, in bounds: ClosedRange<Double>) throws(WireError) -> UInt64? {
        guard let text = raw(name) else { return nil }
        guard let first = text.first, first != UInt8(ascii: "\""),
            let value = Double(String(decoding: text, as: UTF8.self)), bounds.contains(value)
        else {
            throw Self.wrong(
                name, "in seconds, from \(Self.text(bounds.lowerBound)) to \(Self.text(bounds.upperBound))")
        }
        return UInt64((value * 1_000).rounded(.up))
    }

    private static func text(_ number: Double) -> String {
        number == number.rounded() ? "\(Int(number))" : "\(number)"
    }

    func choice<Choice: RawRepresentable & CaseIterable>(
        _ name: String, _: Choice.Type
    ) throws(WireError) -> Choice? where Choice.RawValue == String {
        guard let bytes = try string(name) else { return nil }
        guard let choice = Choice(rawValue: String(decoding: bytes, as: UTF8.self)) else {
            throw Self.wrong(name, "one of " + Choice.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return choice
    }

    /// Any JSON, null too.
    func json(_ name: String, maximumSize: Int) throws(WireError) -> [UInt8]? {
        guard let text = object.raw(name) else { return nil }
        guard text.count <= maximumSize else {
            throw WireError(.tooLarge, "\(name) is \(text.count) bytes; the limit is \(maximumSize)")
        }
        return text
    }

    /// The fencing token that `task.next` gave.
    func fence() throws(WireError) -> Fence {
        guard let text = raw("fence") else {
            throw missing("fence", hint: "\"task\" gave it, in answer to task.next: a whole number")
        }
        guard let token = UInt64(String(decoding: text, as: UTF8.self)), token > 0, token <= UInt64(Int64.max) else {
            throw Self.wrong("fence", "a whole number, as \"task\" gave it")
        }
        return Fence(token)
    }
}
