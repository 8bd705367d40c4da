import Registers

/// Messages about what agents remember. A memory is a register like any other, and each of these becomes a plain message about that.
package enum MemoryMessage: String, CaseIterable, Sendable {
    case put = "memory.put"
    case list = "memory.list"
    case delete = "memory.delete"
}

extension ClientMessageDecoder {
    private static let known: [MemoryMessage: Set<String>] = [
        .put: [
            "agent", "key", "value", "ttl", "tags", "refresh_on_read", "priority", "index", "metadata", "session",
            "expect", "timestamp", "version", "op",
        ],
        .list: ["agent", "prefix", "limit", "after"],
        .delete: ["agent", "key", "expect", "timestamp", "version", "op", "session"],
    ]

    func memory(
        _ message: MemoryMessage, _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage {
        let object: JSONObject
        do throws(JSONError) {
            object = try JSONObject(Fields.bytes(0..<text.count, text))
        } catch {
            throw WireError(.badJSON, error.description)
        }
        let named = CallFields(object, of: message.rawValue)
        if let repeated = named.repeated { throw WireError(.badMessage, "field \"\(repeated)\" stands twice") }
        // A mistyped "ttl" would be kept for ever.
        let known = Self.known[message] ?? []
        if let unknown = named.unknown(beside: known, "type", "id") {
            throw WireError(
                .badMessage, "there is no field \"\(unknown.prefix(40))\"",
                hint: "\(message.rawValue) has " + known.sorted().joined(separator: ", "))
        }
        let agent = try named.segment("agent")
        switch message {
        case .list: return .list(try memories(of: agent, named, fields, text, id: id))
        case .put, .delete:
            let key = try Self.key(of: agent, named)
            return .write(
                try memory(
                    at: key, named, fields, text, id: id, metadata: message == .put ? marks(named, fields, text) : nil))
        }
    }

    static func key(of agent: Segment, _ named: CallFields) throws(WireError) -> Key {
        guard let name = try named.string("key") else { throw named.missing("key") }
        do throws(TextError) {
            return try MemoryKey(agent: agent, name: name).key()
        } catch {
            throw WireError(.badKey, error.description)
        }
    }

    /// - Parameter metadata: nil: it is deleted.
    private func memory(
        at key: Key, _ named: CallFields, _ fields: Fields, _ text: Span<UInt8>, id: RequestID?, metadata: [UInt8]?
    ) throws(WireError) -> ClientMessage.Write {
        var value: [UInt8]?
        if metadata != nil {
            guard let place = try self.value(fields, text) else { throw Fields.missing(.value, of: "memory.put") }
            value = Fields.bytes(place, text)
        }
        var write = ClientMessage.Write(
            id: id, key: key, value: value, metadata: metadata,
            session: try fields.name(.session, text, what: .session),
            op: try fields.name(.op, text, what: .op))
        if metadata != nil { write.timeToLive = try timeToLive(fields, text) }
        write.condition = try condition(fields, text)
        write.stamping = try stamping(fields, text)
        try Self.checkCombination(write)
        return write
    }

    /// What is kept of a memory beside its value, as metadata.
    private func marks(_ named: CallFields, _ fields: Fields, _ text: Span<UInt8>) throws(WireError) -> [UInt8] {
        var marks = MemoryMetadata()
        marks.tags = try named.strings("tags", maximum: MemoryMetadata.maximumTags)
        try Self.check(tags: marks.tags)
        marks.refreshesOnRead = try named.bool("refresh_on_read") ?? false
        marks.priority = try named.text("priority", maximumLength: 32)
        marks.isIndexed = try named.bool("index") ?? true
        let timeToLive = named.raw("ttl")
        if marks.refreshesOnRead, timeToLive == nil {
            throw WireError(
                .missingField, "\"refresh_on_read\" needs \"ttl\": for how many seconds it lives on when it is read")
        }
        let other = try metadata(fields, text).map { Fields.bytes($0, text) }
        if let other, (try? JSONObject(other))?.raw("starling") != nil {
            throw WireError(.badMessage, "the member \"starling\" of metadata is the server's")
        }
        let json = marks.json(timeToLive: timeToLive, beside: other)
        // With the digits that the commit puts in.
        guard json.count + 16 <= Self.maximumMetadataSize else {
            throw WireError(
                .tooLarge, "metadata would be \(json.count) bytes; the limit is \(Self.maximumMetadataSize - 16)")
        }
        return json
    }

    static func check(tags: [[UInt8]]) throws(WireError) {
        for tag in tags where !(1...Segment.maximumLength ~= tag.count) || tag.contains(where: { $0 < 0x20 }) {
            throw CallFields.wrong(
                "tags", "an array of strings of 1 to \(Segment.maximumLength) bytes without control characters")
        }
    }

    private func memories(
        of agent: Segment, _ named: CallFields, _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage.List {
        let prefix = try named.string("prefix") ?? []
        let pattern: Pattern
        do throws(PatternError) {
            pattern = try MemoryKey.pattern(agent: agent, prefix: prefix)
        } catch {
            throw WireError(.badPattern, error.description)
        }
        let limit = try fields.limit(text, maximum: ClientMessage.List.maximumLimit)
        return ClientMessage.List(
            id: id, pattern: pattern, limit: limit ?? ClientMessage.List.defaultLimit,
            after: fields.has(.after) ? try fields.key(.after, text, of: "memory.list") : nil)
    }
}
