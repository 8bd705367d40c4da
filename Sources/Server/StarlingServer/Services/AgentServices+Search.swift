import Access
import Agents
import Follower
import Registers
import SearchIndex
import SyncEngine
import SyncProtocol
import Synchronization

/// Searching: the index says what may be meant, and each register is looked up before it is told of.
extension AgentServices {
    /// How long a search waits for the index to know of all that its caller may have been told of.
    private static let patience = Duration.milliseconds(250)
    /// How much of a value is told, in bytes; the rest is there to be read.
    private static let greatestValue = 16 << 10
    /// How much all values of an answer take, in bytes.
    private static let greatestAnswer = 256 << 10
    /// How many finds are looked up beyond those that are wanted: some may be gone.
    private static let spare = 8

    func search(
        _ search: Search, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> [UInt8] {
        let (results, isReached, position) = try await find(search, request, caller)
        var object = JSONWriter(continues: true)
        object.add("results", raw: Self.array(results))
        object.add("searched", raw: await searched(search, request.grant.read))
        let isComplete = await follower.isComplete
        if case .behind(let commits) = position { object.add("behind", number: commits) }
        object.add("complete", isReached && isComplete && position == .reached)
        return object.finish()
    }

    /// What a search finds, each as its JSON, the best first.
    func find(
        _ search: Search, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> (results: [[UInt8]], isComplete: Bool, position: Follower<SearchIndex>.Position) {
        let position = await follower.reach(request.head, within: .milliseconds(search.patience))
        let read = request.grant.read
        let isOpen = Self.isOpen(read)
        let life = request.life
        // To look up some in vain is not worth it where few are wanted of each kind.
        let spare = search.limits.isEmpty ? Self.spare : 0
        let found = await index.find(
            search, count: search.limit + spare, isOpen: isOpen, isWanted: { life.isWanted }
        ) { read.admits($0) }
        let words = SearchQuery(search.query).words
        var results: [[UInt8]] = []
        var told: [String] = []
        var left = search.limits
        for (hit, register) in try await lookUp(found.hits, caller) where results.count < search.limit {
            // It may have been written since, for another session or without the tags.
            guard let register, Self.fits(register, search, hit.kind) else { continue }
            let kind = hit.kind == .memory ? SearchKind.memory : .knowledge
            if let room = left[kind] {
                if room == 0 { continue }
                left[kind] = room - 1
            }
            let size = results.reduce(0) { $0 + $1.count }
            results.append(
                await result(hit, register, around: words, isOpen: isOpen, hasRoom: size < Self.greatestAnswer))
            if hit.kind == .knowledge { told.append(Self.id(of: hit.key)) }
        }
        // A read waits for no count, and fails with none.
        await counters.note(uses: told)
        return (results, found.isComplete, position)
    }

    /// The register of each, in their order: all are asked for before the first answer is waited for, and so they are read together.
    private func lookUp(
        _ hits: [SearchHit], _ caller: ServiceCaller
    ) async throws(WireError) -> [(SearchHit, JSONObject?)] {
        let registers = try await caller.get(hits.map(\.key))
        return Array(zip(hits, registers))
    }

    private static func fits(_ register: JSONObject, _ search: Search, _ kind: DocumentKind) -> Bool {
        if let session = search.exceptSession, register.string("session").map({ Array($0.utf8) }) == session {
            return false
        }
        if search.tags.isEmpty { return true }
        let tags: [[UInt8]]
        switch kind {
        case .memory: tags = MemoryMetadata(register.raw("metadata")).tags
        case .knowledge:
            tags = (register.object("value")?.array("tags") ?? []).compactMap {
                JSONObject.string($0).map { Array($0.utf8) }
            }
        }
        return search.tags.allSatisfy(tags.contains)
    }

    private static func id(of key: Key) -> String {
        String(decoding: key.bytes.dropFirst("knowledge:".utf8.count), as: UTF8.self)
    }

    /// Whether a caller may read everything that there is an index of: then what is told may go by that.
    static func isOpen(_ read: Scope) -> Bool {
        SearchIndex.patterns.allSatisfy { pattern in
            (try? Pattern(pattern)).map { read.remainder(within: $0) == .everything } ?? false
        }
    }

    func result(
        _ hit: SearchHit, _ register: JSONObject, around words: [[UInt8]], isOpen: Bool, hasRoom: Bool
    ) async -> [UInt8] {
        var object = JSONWriter()
        object.add("key", hit.key.bytes)
        object.add("kind", hit.kind == .memory ? "memory" : "knowledge")
        object.add("score", raw: Array("\((hit.score * 1_000_000).rounded() / 1_000_000)".utf8))
        let value = register.raw("value") ?? []
        switch hit.kind {
        case .memory:
            if let memory = MemoryKey(hit.key) {
                object.add("agent_id", memory.agent)
                object.add("name", memory.name)
            }
            object.add("snippet", SearchText.snippet(of: SearchText.plain(value), around: words))
            add("value", value, hasRoom, to: &object)
            if let tags = (try? JSONObject(register.raw("metadata") ?? []))?.object("starling")?.raw("tags") {
                object.add("tags", raw: tags)
            }
        case .knowledge:
            let fields = try? JSONObject(value)
            let id = Self.id(of: hit.key)
            object.add("knowledge", Segment(escaped: Array(id.utf8))?.bytes ?? Array(id.utf8))
            object.add("topic", raw: fields?.raw("topic") ?? Array("null".utf8))
            let content = fields?.raw("content") ?? value
            object.add("snippet", SearchText.snippet(of: SearchText.plain(content), around: words))
            add("content", content, hasRoom, to: &object)
            object.add("tags", raw: fields?.raw("tags") ?? Array("[]".utf8))
            object.add("confidence", raw: Array("\(hit.confidence)".utf8))
            object.add("usage_count", optional: isOpen ? hit.uses + (await counters.pendingUses(id)) : nil)
            if let supersedes = fields?.raw("supersedes") { object.add("supersedes", raw: supersedes) }
        }
        if let session = register.raw("session") { object.add("session", raw: session) }
        if let version = register.raw("version") { object.add("version", raw: version) }
        if let expiresAt = register.raw("expires_at") { object.add("expires_at", raw: expiresAt) }
        return object.finish()
    }

    private func add(_ name: StaticString, _ value: [UInt8], _ hasRoom: Bool, to object: inout JSONWriter) {
        if hasRoom, value.count <= Self.greatestValue {
            object.add(name, raw: value)
        } else {
            object.add("truncated", true)
        }
    }

    /// How much was looked through, as far as the caller may know: null where it may read a part of it.
    private func searched(_ search: Search, _ read: Scope) async -> [UInt8] {
        var counts: [DocumentKind: UInt64?] = [.memory: 0, .knowledge: 0]
        var namespaces: [String]? = []
        for (namespace, count) in index.namespaces {
            if namespace.kind == .memory, let agent = search.agent,
                namespace.name != String(decoding: agent.escaped, as: UTF8.self)
            {
                continue
            }
            let start = namespace.kind == .memory ? "memory:\(namespace.name):" : "knowledge:"
            guard let pattern = try? Pattern(Pattern.escaping(Array(start.utf8)) + [UInt8(ascii: "*")]) else {
                continue
            }
            let isWhole = read.remainder(within: pattern) == .everything
            guard isWhole || read.mayMeet(pattern) else { continue }
            counts[namespace.kind] = isWhole ? (counts[namespace.kind] ?? nil).map { $0 + UInt64(count) } : .some(nil)
            if namespace.kind == .memory {
                // That there is one tells that something is in it.
                if isWhole { namespaces?.append(namespace.name) } else { namespaces = nil }
            }
        }
        var object = JSONWriter()
        for (kind, name) in [(DocumentKind.memory, "memory" as StaticString), (.knowledge, "knowledge")] {
            guard search.kinds.contains(kind == .memory ? .memory : .knowledge) else { continue }
            object.add(name, optional: counts[kind] ?? nil)
        }
        if search.kinds.contains(.memory) {
            if let namespaces {
                object.add("namespaces", namespaces.sorted().prefix(100).map { Array($0.utf8) })
            } else {
                object.add("namespaces", raw: Array("null".utf8))
            }
        }
        return object.finish()
    }

    static func array(_ elements: [[UInt8]]) -> [UInt8] {
        Array("[".utf8) + Array(elements.joined(separator: Array(",".utf8))) + Array("]".utf8)
    }

    // MARK: Lists

    func topics(
        _ filter: KnowledgeFilter, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> [UInt8] {
        let position = await follower.reach(request.head, within: Self.patience)
        let read = request.grant.read
        let isOpen = Self.isOpen(read)
        let found = await index.topics(filter, isOpen: isOpen) { read.admits($0) }
        var results: [[UInt8]] = []
        for (hit, register) in try await lookUp(found.hits, caller) {
            guard let register else { continue }
            let size = results.reduce(0) { $0 + $1.count }
            results.append(await result(hit, register, around: [], isOpen: isOpen, hasRoom: size < Self.greatestAnswer))
        }
        var object = JSONWriter(continues: true)
        object.add("results", raw: Self.array(results))
        if found.hits.count == filter.limit, let last = found.hits.last { object.add("next", last.key.bytes) }
        let isComplete = await follower.isComplete
        object.add("complete", found.isComplete && isComplete && position == .reached)
        return object.finish()
    }
}
