import Registers

/// Typed access to the fields of an envelope. An optional field that is null counts as absent.
struct Fields {
    let envelope: Envelope

    static func missing(_ field: Envelope.Field, of type: String) -> WireError {
        WireError(.missingField, "field \"\(field.name)\" of \(type) is missing")
    }

    static func wrongKind(_ field: Envelope.Field, _ expected: String) -> WireError {
        WireError(.badMessage, "field \"\(field.name)\" must be \(expected)")
    }

    /// The id that names `text`, which holds no control characters.
    static func quoted(_ text: [UInt8]) -> RequestID {
        let quote = UInt8(ascii: "\"")
        let backslash = UInt8(ascii: "\\")
        let escaped = text.flatMap { $0 == quote || $0 == backslash ? [backslash, $0] : [$0] }
        return RequestID(json: [quote] + escaped + [quote])
    }

    func raw(_ field: Envelope.Field, _ text: Span<UInt8>) -> [UInt8]? {
        envelope[field].map { Self.bytes($0.range, text) }
    }

    static func bytes(_ range: Range<Int>, _ text: Span<UInt8>) -> [UInt8] {
        text.extracting(range).withUnsafeBufferPointer { Array($0) }
    }

    /// Whether a string has something in it that stands for something else.
    private static func hasEscapes(_ content: Span<UInt8>) -> Bool {
        for index in content.indices where content[index] == UInt8(ascii: "\\") { return true }
        return false
    }

    /// Where a string stands in the text as it is; nil: it has escapes, or is none.
    func plain(_ field: Envelope.Field, _ text: Span<UInt8>) -> Range<Int>? {
        guard let slice = envelope[field], slice.kind == .string else { return nil }
        let inner = Self.inner(slice.range)
        return Self.hasEscapes(text.extracting(inner)) ? nil : inner
    }

    private static func inner(_ range: Range<Int>) -> Range<Int> { range.lowerBound + 1..<range.upperBound - 1 }

    /// The text of a string field.
    func string(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> [UInt8]? {
        guard let slice = envelope[field], slice.kind != .null else { return nil }
        guard slice.kind == .string else { throw Self.wrongKind(field, "a string") }
        let inner = Self.inner(slice.range)
        let hasEscapes = Self.hasEscapes(text.extracting(inner))
        guard let bytes = JSONText.unescape(.init(range: inner, hasEscapes: hasEscapes), in: text) else {
            throw WireError(.badMessage, "field \"\(field.name)\" has half of a surrogate pair, which is no text")
        }
        return bytes
    }

    func bool(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> Bool? {
        guard let slice = envelope[field], slice.kind != .null else { return nil }
        guard slice.kind == .boolean else { throw Self.wrongKind(field, "true or false") }
        return text[slice.range.lowerBound] == UInt8(ascii: "t")
    }

    func number(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> Double? {
        guard let slice = envelope[field], slice.kind != .null else { return nil }
        guard slice.kind == .number else { throw Self.wrongKind(field, "a number") }
        if let whole = Self.whole(text.extracting(slice.range)) { return Double(whole) }
        guard let number = Double(String(decoding: Self.bytes(slice.range, text), as: UTF8.self)) else {
            throw Self.wrongKind(field, "a number")
        }
        return number
    }

    /// The value of up to 15 digits, which a Double holds exactly: nearly every number that comes.
    private static func whole(_ digits: Span<UInt8>) -> UInt64? {
        guard digits.count <= 15 else { return nil }
        var value: UInt64 = 0
        for index in digits.indices {
            let digit = digits[index]
            guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= digit else { return nil }
            value = value * 10 + UInt64(digit - UInt8(ascii: "0"))
        }
        return value
    }

    func key(_ field: Envelope.Field, _ text: Span<UInt8>, of type: String) throws(WireError) -> Key {
        guard let key = try key(field, text) else { throw Self.missing(field, of: type) }
        return key
    }

    /// A key, copied out of the text at once; nil: it is not there.
    func key(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> Key? {
        if let place = plain(field, text) { return try Self.key(text.extracting(place)) }
        guard let bytes = try string(field, text) else { return nil }
        return try Self.key(bytes.span)
    }

    private static func key(_ bytes: Span<UInt8>) throws(WireError) -> Key {
        do throws(TextError) {
            try Key.validate(bytes)
        } catch {
            throw WireError(.badKey, error.description)
        }
        return Key(Record(key: bytes))
    }

    func pattern(_ text: Span<UInt8>) throws(WireError) -> Pattern? {
        guard let bytes = try string(.pattern, text) else { return nil }
        do throws(PatternError) {
            return try Pattern(bytes)
        } catch {
            throw WireError(.badPattern, error.description)
        }
    }

    func version(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> Version? {
        guard let bytes = try string(field, text) else { return nil }
        do throws(VersionError) {
            return try Version(bytes.span)
        } catch {
            throw WireError(
                .badVersion, error.description, hint: "a version looks like 01a0c5d3e800-0000-planner")
        }
    }

    /// A short name, like a session or an op.
    func name(_ field: Envelope.Field, _ text: Span<UInt8>, what: TextError.What) throws(WireError) -> [UInt8]? {
        guard let bytes = try string(field, text) else { return nil }
        do throws(TextError) {
            try TextError.check(
                bytes.span, what: what, maximumLength: ClientMessageDecoder.maximumNameLength)
        } catch {
            throw WireError(.badMessage, error.description)
        }
        return bytes
    }

    /// The message's id: a string or a number.
    func requestID(_ text: Span<UInt8>) throws(WireError) -> RequestID? {
        guard let slice = envelope[.id], slice.kind != .null else { return nil }
        guard slice.kind == .string || slice.kind == .number else {
            throw Self.wrongKind(.id, "a string or a number")
        }
        if slice.range.count > RequestID.maximumLength {
            throw WireError(
                .badMessage, "id is \(slice.range.count) bytes of JSON; the limit is \(RequestID.maximumLength)")
        }
        return raw(.id, text).map(RequestID.init(asSent:))
    }

    /// Whether the field is there, and not null.
    func has(_ field: Envelope.Field) -> Bool {
        guard let slice = envelope[field] else { return false }
        return slice.kind != .null
    }

    func limit(_ text: Span<UInt8>, maximum: Int) throws(WireError) -> Int? {
        guard let number = try number(.limit, text) else { return nil }
        guard number >= 1, number <= Double(maximum), number == number.rounded(.down) else {
            throw WireError(.badMessage, "\"limit\" must be a whole number from 1 to \(maximum)")
        }
        return Int(number)
    }

    /// The fencing token of a claim: `"fence":17`.
    func token(_ field: Envelope.Field = .fence, _ text: Span<UInt8>) throws(WireError) -> Fence? {
        guard let slice = envelope[field], slice.kind != .null else { return nil }
        guard slice.kind == .number, let token = Self.whole(text.extracting(slice.range)), token > 0 else {
            throw Self.wrongKind(field, "a whole number, as \"claimed\" gave it")
        }
        return Fence(token)
    }

    /// The fencing token that a write shows: `"fence":{"key":"lock:1","token":17}`.
    func fence(_ text: Span<UInt8>) throws(WireError) -> ClientMessage.FencedKey? {
        guard let slice = envelope[.fence], slice.kind != .null else { return nil }
        guard slice.kind == .object, let object = raw(.fence, text).flatMap({ try? JSONObject($0) }),
            let key = object.string("key"), let token = object.raw("token").flatMap({ Self.whole($0.span) }), token > 0
        else {
            throw Self.wrongKind(.fence, "an object like {\"key\":\"lock:1\",\"token\":17}")
        }
        do throws(TextError) {
            return ClientMessage.FencedKey(key: try Key(key), fence: Fence(token))
        } catch {
            throw WireError(.badKey, "the fence's \(error.description)")
        }
    }

    /// Where the elements of an array are; nil where there is no such field. The text has been checked already.
    func elements(_ field: Envelope.Field, _ text: Span<UInt8>) throws(WireError) -> [Range<Int>]? {
        guard let slice = envelope[field], slice.kind != .null else { return nil }
        guard slice.kind == .array else { throw Self.wrongKind(field, "an array") }
        var scanner = JSONScanner(position: slice.range.lowerBound + 1)
        var elements: [Range<Int>] = []
        while true {
            scanner.skipWhitespace(text)
            if scanner.position == slice.range.upperBound - 1 { return elements }
            let start = scanner.position
            do throws(JSONError) {
                _ = try scanner.skipValue(text)
            } catch {
                throw WireError(.badJSON, error.description)
            }
            elements.append(start..<scanner.position)
            scanner.skipWhitespace(text)
            _ = scanner.take(UInt8(ascii: ","), text)
        }
    }

    /// `"until":"disconnect"`.
    func endsWithConnection(_ text: Span<UInt8>) throws(WireError) -> Bool {
        guard let until = try string(.until, text) else { return false }
        guard until == Array("disconnect".utf8) else { throw Self.wrongKind(.until, "\"disconnect\"") }
        return true
    }
}
