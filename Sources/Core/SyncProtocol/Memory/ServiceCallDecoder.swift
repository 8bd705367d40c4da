import Registers

/// Reads calls that services answer.
struct ServiceCallDecoder {
    private static let maximumTags = MemoryMetadata.maximumTags

    private static let known: [ServiceCall.Name: Set<String>] = [
        .search: ["query", "in", "agent", "pattern", "tags", "limit", "order", "except_session", "wait", "match"],
        .memoryGet: ["agent", "key"],
        .knowledgePut: ["topic", "content", "knowledge", "tags", "source", "confidence", "ttl", "supersedes", "op"],
        .knowledgeGet: ["knowledge"],
        .knowledgeList: ["topic", "tag", "limit", "after"],
        .hook: ["event", "input", "agent", "swarm", "content"],
    ]

    /// The greatest size of content, in bytes.
    let maximumValueSize: Int

    /// - Parameter text: the whole message, whose grammar has been checked.
    func decode(_ name: ServiceCall.Name, _ text: [UInt8], id: RequestID?) throws(WireError) -> ServiceCall {
        let object: JSONObject
        do throws(JSONError) {
            object = try JSONObject(text)
        } catch {
            throw WireError(.badJSON, error.description)
        }
        let fields = CallFields(object, of: name.rawValue)
        if let repeated = fields.repeated { throw WireError(.badMessage, "field \"\(repeated)\" stands twice") }
        let known = Self.known[name] ?? []
        if let unknown = fields.unknown(beside: known, "type", "id") {
            throw WireError(
                .badMessage, "there is no field \"\(unknown.prefix(40))\"",
                hint: "\(name.rawValue) has " + known.sorted().joined(separator: ", "))
        }
        return ServiceCall(
            name, id: id, op: try fields.text("op", maximumLength: ClientMessageDecoder.maximumNameLength),
            action: try action(name, fields))
    }

    private func action(_ name: ServiceCall.Name, _ fields: CallFields) throws(WireError) -> ServiceCall.Action {
        switch name {
        case .search: .search(try search(fields))
        case .memoryGet:
            .recall(MemoryKey(agent: try fields.segment("agent"), name: try memoryName(fields)))
        case .knowledgePut: .learn(try knowledge(fields))
        case .knowledgeGet: .knowledge(try fields.segment("knowledge"))
        case .knowledgeList: .topics(try filter(fields))
        case .hook: .hook(try hook(fields))
        }
    }

    private func memoryName(_ fields: CallFields) throws(WireError) -> [UInt8] {
        // It is looked at by the same rules as where it is put.
        _ = try ClientMessageDecoder.key(of: try fields.segment("agent"), fields)
        guard let name = try fields.string("key") else { throw fields.missing("key") }
        return name
    }

    private func search(_ fields: CallFields) throws(WireError) -> Search {
        guard let query = try fields.string("query") else { throw fields.missing("query") }
        guard query.count <= Search.maximumQuery else {
            throw WireError(
                .tooLarge, "the query is \(query.count) bytes; the limit is \(Search.maximumQuery)",
                hint: "a few words find more than many")
        }
        var search = Search(query: query)
        if fields.raw("in") != nil {
            search.kinds = []
            for text in try fields.strings("in", maximum: SearchKind.allCases.count) {
                guard let kind = SearchKind(rawValue: String(decoding: text, as: UTF8.self)) else {
                    throw CallFields.wrong("in", "an array of memory and knowledge")
                }
                search.kinds.insert(kind)
            }
            if search.kinds.isEmpty { throw CallFields.wrong("in", "an array of memory and knowledge; it is empty") }
        }
        search.agent = try fields.optionalSegment("agent")
        search.pattern = try pattern(fields)
        search.tags = try fields.strings("tags", maximum: Self.maximumTags)
        search.limit = try fields.integer("limit", in: 1...Search.maximumLimit) ?? search.limit
        search.match = try fields.choice("match", Search.Match.self) ?? search.match
        search.order = try fields.choice("order", Search.Order.self) ?? search.order
        search.exceptSession = try fields.text("except_session", maximumLength: ClientMessageDecoder.maximumNameLength)
        if let wait = try fields.seconds("wait", in: 0...5) { search.patience = Int(wait) }
        return search
    }

    private func hook(_ fields: CallFields) throws(WireError) -> HookCall {
        guard let input = fields.raw("input") else { throw fields.missing("input") }
        guard input.first == UInt8(ascii: "{") else { throw CallFields.wrong("input", "an object") }
        var call = HookCall(input: input)
        call.event = try fields.text("event", maximumLength: 64)
        call.swarm = try fields.optionalSegment("swarm")
        call.keepsContent = try fields.bool("content") ?? true
        if let name = try fields.text("agent") {
            do throws(TextError) {
                call.agent = try Agent(String(decoding: name, as: UTF8.self))
            } catch {
                throw WireError(.badMessage, "\"agent\" is no name: \(error)")
            }
        }
        return call
    }

    private func pattern(_ fields: CallFields) throws(WireError) -> Pattern? {
        guard let bytes = try fields.string("pattern") else { return nil }
        do throws(PatternError) {
            return try Pattern(bytes)
        } catch {
            throw WireError(.badPattern, error.description)
        }
    }

    private func knowledge(_ fields: CallFields) throws(WireError) -> NewKnowledge {
        guard let topic = try fields.text("topic", maximumLength: NewKnowledge.maximumTopic) else {
            throw fields.missing("topic")
        }
        guard let content = try fields.string("content") else { throw fields.missing("content") }
        // Escaped it may take six times that.
        guard content.count * 2 <= maximumValueSize else {
            throw WireError(.tooLarge, "content is \(content.count) bytes; the limit is \(maximumValueSize / 2)")
        }
        var new = NewKnowledge(topic: topic, content: content)
        new.id = try fields.optionalSegment("knowledge")
        new.tags = try fields.strings("tags", maximum: Self.maximumTags)
        try ClientMessageDecoder.check(tags: new.tags)
        new.source = try fields.text("source", maximumLength: 1_024)
        if let raw = fields.raw("confidence") {
            guard let first = raw.first, first != UInt8(ascii: "\""),
                let value = Double(String(decoding: raw, as: UTF8.self)), 0...1 ~= value
            else { throw CallFields.wrong("confidence", "a number from 0 to 1") }
            new.confidence = raw
        }
        new.supersedes = try fields.optionalSegment("supersedes")
        if try fields.seconds("ttl", in: 0.001...Double(ClientMessageDecoder.maximumTimeToLive / 1_000)) != nil {
            new.timeToLive = fields.raw("ttl")
        }
        return new
    }

    private func filter(_ fields: CallFields) throws(WireError) -> KnowledgeFilter {
        var filter = KnowledgeFilter()
        filter.topic = try fields.text("topic", maximumLength: NewKnowledge.maximumTopic)
        filter.tag = try fields.text("tag")
        filter.limit = try fields.integer("limit", in: 1...KnowledgeFilter.maximumLimit) ?? filter.limit
        if let after = try fields.string("after") {
            do throws(TextError) {
                try Key.validate(after.span)
            } catch {
                throw WireError(.badKey, error.description)
            }
            filter.after = Key(unchecked: after)
        }
        return filter
    }
}
