import Registers

/// Reads messages from clients.
package struct ClientMessageDecoder: Sendable {
    /// The greatest size of a value, in bytes of JSON.
    package let maximumValueSize: Int

    /// The greatest size of a `metadata` object, in bytes of JSON.
    package static let maximumMetadataSize = 16 * 1024
    /// The greatest length of a `session`, and of an `op`, in bytes.
    package static let maximumNameLength = 128
    /// The greatest length of a `token`, in bytes.
    package static let maximumTokenLength = 8_192
    /// The greatest time to live: a hundred years, in milliseconds.
    package static let maximumTimeToLive: UInt64 = 100 * 366 * 86_400_000

    package init(maximumValueSize: Int) {
        self.maximumValueSize = maximumValueSize
    }

    /// Reads one message.
    ///
    /// - Throws: ``WireError`` that names what is wrong, with the message's id where that could be read.
    package func decode(_ text: Span<UInt8>) throws(WireError) -> ClientMessage {
        let envelope: Envelope
        do throws(JSONError) {
            envelope = try Envelope(text)
        } catch {
            throw WireError(.badJSON, error.description)
        }
        // The id first, so that whatever else is wrong can be answered with it.
        let fields = Fields(envelope: envelope)
        let id = try fields.requestID(text)
        do throws(WireError) {
            if let field = envelope.repeated {
                throw WireError(.badMessage, "field \"\(field.name)\" stands twice")
            }
            return try decode(fields, text, id: id)
        } catch {
            var error = error
            error.id = id
            throw error
        }
    }

    private func decode(_ fields: Fields, _ text: Span<UInt8>, id: RequestID?) throws(WireError) -> ClientMessage {
        let type: MessageType
        switch try kind(fields, text) {
        case .plain(let plain): type = plain
        case .call(let name): return .call(try call(name, fields, text, id: id))
        case .memory(let message): return try memory(message, fields, text, id: id)
        case .service(let name):
            return .service(
                try ServiceCallDecoder(maximumValueSize: maximumValueSize).decode(
                    name, Fields.bytes(0..<text.count, text), id: id))
        }
        switch type {
        case .broadcast: return .write(try write(fields, text, id: id, isDelete: false))
        case .delete: return .write(try write(fields, text, id: id, isDelete: true))
        case .subscribe: return .subscribe(try subscribe(fields, text, id: id))
        case .unsubscribe:
            guard let id else { throw Fields.missing(.id, of: "unsubscribe") }
            return .unsubscribe(id: id)
        case .get: return .get(id: id, key: try fields.key(.key, text, of: "get"))
        case .list: return .list(try list(fields, text, id: id))
        case .hello: return .hello(try hello(fields, text, id: id))
        case .ping: return .ping(id: id)
        case .claim: return .lease(try lease(.claim, fields, text, id: id))
        case .renew: return .lease(try lease(.renew, fields, text, id: id))
        case .release: return .lease(try lease(.release, fields, text, id: id))
        case .touch: return .touch(try touch(fields, text, id: id))
        case .batch: return .batch(try batch(fields, text, id: id))
        case .digest: return .digest(try digest(fields, text, id: id))
        }
    }

    private func call(
        _ name: Call.Name, _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> Call {
        try CallDecoder(maximumValueSize: maximumValueSize).decode(
            name, Fields.bytes(0..<text.count, text), id: id, op: try fields.name(.op, text, what: .op))
    }

    private enum Kind {
        case plain(MessageType)
        case call(Call.Name)
        case memory(MemoryMessage)
        case service(ServiceCall.Name)

        init?(_ name: String) {
            if let call = Call.Name(rawValue: name) {
                self = .call(call)
            } else if let message = MemoryMessage(rawValue: name) {
                self = .memory(message)
            } else if let service = ServiceCall.Name(rawValue: name) {
                self = .service(service)
            } else {
                return nil
            }
        }

        static let names =
            MessageType.allCases.map(\.rawValue) + Call.Name.allCases.map(\.rawValue)
            + MemoryMessage.allCases.map(\.rawValue) + ServiceCall.Name.allCases.map(\.rawValue)
    }

    private func kind(_ fields: Fields, _ text: Span<UInt8>) throws(WireError) -> Kind {
        if let place = fields.plain(.type, text), let type = MessageType(text.extracting(place)) { return .plain(type) }
        guard let bytes = try fields.string(.type, text) else {
            throw WireError(
                .missingField, "field \"type\" is missing", hint: "a message looks like {\"type\":\"ping\"}")
        }
        if let type = MessageType(bytes.span) { return .plain(type) }
        let name = String(decoding: bytes, as: UTF8.self)
        if let kind = Kind(name) { return kind }
        throw WireError(
            .unknownType, "there is no message type \"\(name.prefix(40))\"",
            hint: "types: " + Kind.names.joined(separator: ", "))
    }

    private func hello(
        _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage.Hello {
        var agent: Agent?
        if let name = try fields.string(.agent, text) {
            do throws(TextError) {
                agent = try Agent(name.span)
            } catch {
                throw WireError(.badMessage, error.description)
            }
        }
        let token = try fields.string(.token, text)
        if let token, token.count > Self.maximumTokenLength {
            throw WireError(
                .badMessage, "\"token\" is \(token.count) bytes; the limit is \(Self.maximumTokenLength)")
        }
        return ClientMessage.Hello(
            id: id, agent: agent, session: try fields.name(.session, text, what: .session),
            token: token.map { String(decoding: $0, as: UTF8.self) })
    }

    private func subscribe(
        _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage.Subscribe {
        guard let pattern = try fields.pattern(text) else { throw Fields.missing(.pattern, of: "subscribe") }
        var since: Cursor?
        if let bytes = try fields.string(.since, text) {
            since = Cursor(bytes)
            if since == nil {
                throw WireError(
                    .badCursor, "\"since\" is not a cursor that a server gave",
                    hint: "subscribe without \"since\" for a fresh snapshot")
            }
        }
        let name = id ?? Fields.quoted(pattern.text)
        if name.json.count > RequestID.maximumLength {
            throw WireError(
                .missingField, "field \"id\" of subscribe is missing, and the pattern is too long to stand for it")
        }
        return ClientMessage.Subscribe(
            id: name, pattern: pattern, since: since,
            wantsSnapshot: try fields.bool(.snapshot, text) ?? true, wantsEcho: try fields.bool(.echo, text) ?? true,
            wantsCursors: try fields.bool(.cursors, text) ?? false,
            wantsConflated: try fields.bool(.conflated, text) ?? false)
    }

    private func list(_ fields: Fields, _ text: Span<UInt8>, id: RequestID?) throws(WireError) -> ClientMessage.List {
        let pattern = try fields.pattern(text) ?? .everything
        let limit = try fields.limit(text, maximum: ClientMessage.List.maximumLimit)
        let after = fields.has(.after) ? try fields.key(.after, text, of: "list") : nil
        return ClientMessage.List(
            id: id, pattern: pattern, limit: limit ?? ClientMessage.List.defaultLimit, after: after)
    }

    private func digest(
        _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage.Digest {
        let limit = try fields.limit(text, maximum: ClientMessage.Digest.maximumLimit)
        return ClientMessage.Digest(
            id: id, pattern: try fields.pattern(text) ?? .everything,
            after: fields.has(.after) ? try fields.key(.after, text, of: "digest") : nil,
            through: fields.has(.through) ? try fields.key(.through, text, of: "digest") : nil,
            limit: limit ?? ClientMessage.Digest.defaultLimit)
    }

    private func write(
        _ fields: Fields, _ text: Span<UInt8>, id: RequestID?, isDelete: Bool
    ) throws(WireError) -> ClientMessage.Write {
        let record = try record(fields, text, isDelete: isDelete)
        var write = ClientMessage.Write(id: id, record)
        write.fence = try fields.fence(text)
        write.endsWithConnection = try fields.endsWithConnection(text)
        write.isTransient = try fields.bool(.transient, text) ?? false
        write.timeToLive = try timeToLive(fields, text)
        write.condition = try condition(fields, text)
        write.stamping = try stamping(fields, text)
        try Self.checkCombination(write)
        return write
    }

    static func checkCombination(_ write: ClientMessage.Write) throws(WireError) {
        if write.isTransient {
            if write.condition != .none || write.timeToLive != nil || write.isDelete || write.fence != nil
                || write.endsWithConnection
            {
                throw WireError(
                    .badMessage,
                    "a transient broadcast takes no \"expect\", \"ttl\", \"fence\" or \"until\", and deletes nothing")
            }
        }
        if write.isDelete, write.timeToLive != nil || write.endsWithConnection {
            throw WireError(.badMessage, "a delete takes no \"ttl\" and no \"until\"")
        }
        if write.condition != .none, case .version = write.stamping {
            throw WireError(
                .badMessage, "\"expect\" and \"version\" exclude each other: the server stamps a conditional write")
        }
    }

    /// The bytes of a write, copied out of the text at once.
    ///
    /// - Parameter isDelete: whether there is no value, whatever the text has.
    private func record(_ fields: Fields, _ text: Span<UInt8>, isDelete: Bool) throws(WireError) -> Record {
        let place = fields.plain(.key, text)
        let unescaped = place == nil ? try fields.string(.key, text) ?? [] : []
        guard place != nil || fields.has(.key) else {
            throw Fields.missing(.key, of: isDelete ? "delete" : "broadcast")
        }
        let key = if let place { text.extracting(place) } else { unescaped.span }
        do throws(TextError) {
            try Key.validate(key)
        } catch {
            throw WireError(.badKey, error.description)
        }
        let value = isDelete ? nil : try value(fields, text)
        guard isDelete || value != nil else {
            throw WireError(
                .missingField, "field \"value\" of broadcast is missing",
                hint: "{\"type\":\"delete\",\"key\":…} deletes a key")
        }
        let metadata = try metadata(fields, text)
        let session = try fields.name(.session, text, what: .session)
        let op = try fields.name(.op, text, what: .op)
        let valueText: Span<UInt8>? = if let value { text.extracting(value) } else { nil }
        let metadataText: Span<UInt8>? = if let metadata { text.extracting(metadata) } else { nil }
        return Record(key: key, value: valueText, metadata: metadataText, session: session?.span, op: op?.span)
    }

    /// Where the value is, where there is one; it may be null.
    func value(_ fields: Fields, _ text: Span<UInt8>) throws(WireError) -> Range<Int>? {
        guard let range = fields.envelope[.value]?.range else { return nil }
        if range.count > maximumValueSize {
            throw WireError(.tooLarge, "value is \(range.count) bytes; the limit is \(maximumValueSize)")
        }
        return range
    }

    private func lease(
        _ action: ClientMessage.Lease.Action, _ fields: Fields, _ text: Span<UInt8>, id: RequestID?
    ) throws(WireError) -> ClientMessage.Lease {
        let type = action.rawValue
        var lease = ClientMessage.Lease(action, id: id, key: try fields.key(.key, text, of: type))
        lease.fence = try fields.token(.fence, text)
        lease.op = try fields.name(.op, text, what: .op)
        if action != .claim, lease.fence == nil {
            throw WireError(
                .missingField, "field \"fence\" of \(type) is missing", hint: "\"claimed\" gave it: a whole number")
        }
        guard action != .release else { return lease }
        lease.timeToLive = try timeToLive(fields, text)
        lease.endsWithConnection = try fields.endsWithConnection(text)
        if action == .claim, lease.timeToLive == nil, !lease.endsWithConnection {
            throw WireError(
                .missingField, "a claim needs \"ttl\" in seconds, or \"until\":\"disconnect\"",
                hint: "a lease without an end would outlive an agent that crashes")
        }
        if let value = try value(fields, text) { lease.value = Fields.bytes(value, text) }
        if let metadata = try metadata(fields, text) { lease.metadata = Fields.bytes(metadata, text) }
        lease.session = try fields.name(.session, text, what: .session)
        return lease
    }

    private func touch(_ fields: Fields, _ text: Span<UInt8>, id: RequestID?) throws(WireError) -> ClientMessage.Touch {
        let key = try fields.key(.key, text, of: "touch")
        guard let timeToLive = try timeToLive(fields, text) else {
            throw WireError(
                .missingField, "field \"ttl\" of touch is missing", hint: "how long it is to live, in seconds")
        }
        return ClientMessage.Touch(id: id, key: key, timeToLive: timeToLive)
    }

    func metadata(_ fields: Fields, _ text: Span<UInt8>) throws(WireError) -> Range<Int>? {
        guard let slice = fields.envelope[.metadata], slice.kind != .null else { return nil }
        guard slice.kind == .object else { throw Fields.wrongKind(.metadata, "an object") }
        if slice.range.count > Self.maximumMetadataSize {
            throw WireError(
                .tooLarge, "metadata is \(slice.range.count) bytes; the limit is \(Self.maximumMetadataSize)")
        }
        return slice.range
    }

    func timeToLive(_ fields: Fields, _ text: Span<UInt8>) throws(WireError) -> UInt64? {
        guard let seconds = try fields.number(.ttl, text) else { return nil }
        let milliseconds = (seconds * 1_000).rounded(.up)
        guard seconds > 0, milliseconds <= Double(Self.maximumTimeToLive) else {
            throw WireError(
                .badMessage, "\"ttl\" is in seconds, more than 0 and at most \(Self.maximumTimeToLive / 1_000)")
        }
        return UInt64(milliseconds)
    }

    func condition(
        _ fields: Fields, _ text: Span<UInt8>
    ) throws(WireError) -> ClientMessage.Write.Condition {
        guard let slice = fields.envelope[.expect] else { return .none }
        if slice.kind == .null { return .absent }
        guard let version = try fields.version(.expect, text) else { return .none }
        return .version(version)
    }

    func stamping(
        _ fields: Fields, _ text: Span<UInt8>
    ) throws(WireError) -> ClientMessage.Write.Stamping {
        if let version = try fields.version(.version, text) { return .version(version) }
        guard let milliseconds = try fields.number(.timestamp, text) else { return .server }
        guard milliseconds >= 0, milliseconds <= Double(Stamp.maximumMilliseconds) else {
            throw WireError(.badMessage, "\"timestamp\" is in milliseconds since 1970, as Date.now() gives them")
        }
        return .timestamp(UInt64(milliseconds))
    }
}
