import Registers

extension ClientMessageDecoder {
    func batch(_ fields: Fields, _ text: Span<UInt8>, id: RequestID?) throws(WireError) -> ClientMessage.Batch {
        guard let writes = try fields.elements(.writes, text) else {
            throw WireError(
                .missingField, "field \"writes\" of batch is missing",
                hint: #"{"type":"batch","writes":[{"key":"a","value":1},{"key":"b","delete":true}]}"#)
        }
        let requirements = try fields.elements(.require, text) ?? []
        let limit = ClientMessage.Batch.maximumMembers
        guard 1...limit ~= writes.count, requirements.count <= limit else {
            throw WireError(
                .badMessage,
                "a batch has 1 to \(limit) \"writes\" and at most \(limit) \"require\"; this one has \(writes.count) and "
                    + "\(requirements.count)")
        }
        var batch = ClientMessage.Batch(id: id, op: try fields.name(.op, text, what: .op), members: [])
        var keys: Set<Key> = []
        for (index, range) in requirements.enumerated() {
            try element(.require, index, text.extracting(range)) { (fields, text) throws(WireError) in
                batch.requirements.append(try requirement(fields, text, &keys))
            }
        }
        keys.removeAll(keepingCapacity: true)
        batch.members.reserveCapacity(writes.count)
        for (index, range) in writes.enumerated() {
            try element(.writes, index, text.extracting(range)) { (fields, text) throws(WireError) in
                batch.members.append(try member(fields, text, &keys))
            }
        }
        if batch.op != nil { batch.fingerprint = batch.hash }
        return batch
    }

    /// Reads an element of an array, and says which it is where something is wrong with it.
    private func element(
        _ field: Envelope.Field, _ index: Int, _ text: Span<UInt8>,
        _ read: (Fields, Span<UInt8>) throws(WireError) -> Void
    ) throws(WireError) {
        do throws(WireError) {
            let envelope: Envelope
            do throws(JSONError) {
                envelope = try Envelope(text)
            } catch {
                throw WireError(.badMessage, "it must be an object")
            }
            if let field = envelope.repeated {
                throw WireError(.badMessage, "field \"\(field.name)\" stands twice")
            }
            try read(Fields(envelope: envelope), text)
        } catch {
            var error = error
            error.message = "\(field.name)[\(index)]: \(error.message)"
            throw error
        }
    }

    private func requirement(
        _ fields: Fields, _ text: Span<UInt8>, _ keys: inout Set<Key>
    ) throws(WireError) -> ClientMessage.Batch.Requirement {
        let key = try key(fields, text, &keys)
        let fence = try fields.token(.fence, text)
        switch (fields.envelope[.version], fence) {
        case (let slice?, nil):
            let version = slice.kind == .null ? nil : try fields.version(.version, text)
            return .init(key: key, state: version.map { .version($0) } ?? .absent)
        case (nil, let fence?): return .init(key: key, state: .fence(fence))
        case (nil, nil), (_?, _?):
            throw WireError(
                .badMessage, "it needs either \"version\" (null: the key is absent) or \"fence\" of a claim")
        }
    }

    /// Fields of single writes that a member of a batch must not have: without them it would be another write than was meant.
    private static let refused: [Envelope.Field] = [.timestamp, .version, .transient, .until, .op, .fence]

    private func member(
        _ fields: Fields, _ text: Span<UInt8>, _ keys: inout Set<Key>
    ) throws(WireError) -> ClientMessage.Batch.Member {
        let key = try key(fields, text, &keys)
        for field in Self.refused where fields.has(field) {
            throw WireError(
                .badMessage, "\"\(field.name)\" does not go into a batch",
                hint: "the server stamps a batch; fences go into \"require\", and \"op\" beside \"writes\"")
        }
        let isDelete = try fields.bool(.delete, text) ?? false
        if let fence = try fields.token(.release, text) {
            let others: [Envelope.Field] = [.value, .metadata, .expect]
            guard !isDelete, !fields.has(.ttl), !fields.has(.session),
                others.allSatisfy({ fields.envelope[$0] == nil })
            else {
                throw WireError(.badMessage, "a release has a key and its fence, and nothing else")
            }
            return .release(ClientMessage.Lease(.release, key: key, fence: fence))
        }
        let value = try value(fields, text)
        guard isDelete == (value == nil) else {
            throw isDelete
                ? WireError(.badMessage, "a delete takes no \"value\"")
                : WireError(
                    .missingField, "it needs \"value\", \"delete\":true or \"release\" with a fence")
        }
        let metadata = try metadata(fields, text)
        let session = try fields.name(.session, text, what: .session)
        let valueText: Span<UInt8>? = if let value { text.extracting(value) } else { nil }
        let metadataText: Span<UInt8>? = if let metadata { text.extracting(metadata) } else { nil }
        var write = ClientMessage.Write(
            id: nil, key.record.with(value: valueText, metadata: metadataText, session: session?.span, op: nil))
        write.timeToLive = try timeToLive(fields, text)
        write.condition = try condition(fields, text)
        try Self.checkCombination(write)
        return .write(write)
    }

    /// The key of an element, which no other one of the array may have.
    private func key(_ fields: Fields, _ text: Span<UInt8>, _ keys: inout Set<Key>) throws(WireError) -> Key {
        guard let key = try fields.key(.key, text) else { throw WireError(.missingField, "it needs a \"key\"") }
        guard keys.insert(key).inserted else {
            throw WireError(
                .badMessage, "the key \(key) stands twice",
                hint: "a batch is applied at once: which of the two is meant?")
        }
        return key
    }
}
