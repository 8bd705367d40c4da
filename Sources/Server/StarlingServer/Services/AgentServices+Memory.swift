import Access
import Agents
import Follower
import Foundation
import Loops
import NIOCore
import Registers
import SearchIndex
import SyncEngine
import SyncProtocol

/// Memories that are read, and knowledge.
extension AgentServices {
    private static let patience = Duration.milliseconds(250)
    /// How many agents are named that remember something under a name which the asked one does not.
    private static let maximumOthers = 3

    func recall(
        _ memory: MemoryKey, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> [UInt8] {
        let key: Key
        do throws(TextError) {
            key = try memory.key()
        } catch {
            throw WireError(.badKey, error.description)
        }
        var object = JSONWriter(continues: true)
        guard let register = try await caller.get(key) else {
            object.add("key", key.bytes)
            object.add("found", false)
            // Stored and not found: most often it is somebody else's.
            _ = await follower.reach(request.head, within: Self.patience)
            let read = request.grant.read
            let others = await index.agents(remembering: memory.name) { read.admits($0) }
            object.add("agents", others.prefix(Self.maximumOthers).map { Array($0.utf8) })
            return object.finish()
        }
        let metadata = MemoryMetadata(register.raw("metadata"))
        if metadata.refreshesOnRead, let timeToLive = metadata.timeToLive, let end = register.integer("expires_at") {
            // Not each time: a memory that is read often would be written as often.
            let left = Double(end) - Double(SystemClock.now().milliseconds)
            if left < timeToLive * 900 { touches.touch(key, timeToLive: timeToLive) }
        }
        return Self.members(of: register)
    }

    /// The members of a `register`, without what only pairs it with a question.
    private static func members(of register: JSONObject) -> [UInt8] {
        register.members.filter { $0.name != "type" && $0.name != "id" }.flatMap { member in
            Array(",\"\(member.name)\":".utf8) + member.value
        }
    }

    // MARK: Knowledge

    private static func key(_ id: Segment) throws(WireError) -> Key {
        let bytes = Array("knowledge:".utf8) + id.escaped
        return Key(unchecked: bytes)
    }

    func learn(
        _ new: NewKnowledge, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> [UInt8] {
        let id = new.id ?? KnowledgeID.of(topic: new.topic, content: new.content)
        let key = try Self.key(id)
        for attempt in 0... {
            // Who may not read what it replaces replaces it without.
            let old: JSONObject?
            var expect: String?
            do throws(WireError) {
                old = try await caller.get(key)
                expect = old?.string("version").map { "\"\($0)\"" } ?? "null"
            } catch  where error.code == .forbidden {
                old = nil
            }
            // Of two that say the same at once the second one adds to the first.
            if attempt == Self.maximumAttempts { expect = nil }
            let answer = try await caller.ask(Self.write(new, id, key, request, old?.object("value"), expect: expect))
            guard answer.bool("applied") == true else {
                let reasons = (answer.array("failed") ?? []).compactMap { try? JSONObject($0).string("reason") }
                if expect != nil, reasons.allSatisfy({ $0 == "condition" }) { continue }
                throw WireError(
                    .held, "somebody holds \(key), or what says who said so", hint: "try again when the claim is over")
            }
            return Self.answer(answer, id, key, isNew: old == nil)
        }
        preconditionFailure("there is no end to numbers")
    }

    /// How often it is tried anew because somebody was faster.
    private static let maximumAttempts = 8

    /// The batch that says what somebody knows, and who says so.
    ///
    /// - Parameter expect: the JSON of the version that is to be in place; nil: any.
    private static func write(
        _ new: NewKnowledge, _ id: Segment, _ key: Key, _ request: ServiceRequest, _ old: JSONObject?, expect: String?
    ) throws(WireError) -> SyncMessage {
        let now = SystemClock.now().milliseconds / 1_000
        var source = JSONWriter()
        source.add("source", new.source)
        source.add("confidence", raw: new.confidence ?? Array("1".utf8))
        source.add("session_id", request.session)
        source.add("seen_at", number: now)
        let sourceKey = key.bytes + Array(":source:".utf8) + Segment(request.agent).escaped
        let life = new.timeToLive.map { ",\"ttl\":" + String(decoding: $0, as: UTF8.self) } ?? ""
        var writes = ByteBuffer(string: "[{\"key\":")
        writes.writeJSONString(key.bytes)
        writes.writeString(",\"value\":")
        writes.writeBytes(value(of: new, id, replacing: old, now: now))
        writes.writeString((expect.map { ",\"expect\":\($0)" } ?? "") + life + "},{\"key\":")
        writes.writeJSONString(sourceKey)
        writes.writeString(",\"value\":")
        writes.writeBytes(source.finish())
        writes.writeString(life + "}]")
        var batch = SyncMessage("batch")
        try batch.add("writes", json: writes)
        return batch
    }

    private static func answer(_ answer: JSONObject, _ id: Segment, _ key: Key, isNew: Bool) -> [UInt8] {
        var object = JSONWriter(continues: true)
        object.add("knowledge", id)
        object.add("key", key.bytes)
        object.add("created", isNew)
        if let versions = answer.array("versions"), let first = versions.first { object.add("version", raw: first) }
        if let first = answer.raw("first") { object.add("revision", raw: first) }
        return object.finish()
    }

    private static func value(
        of new: NewKnowledge, _ id: Segment, replacing old: JSONObject?, now: UInt64
    ) -> [UInt8] {
        var value = JSONWriter()
        value.add("id", id)
        value.add("topic", new.topic)
        value.add("content", new.content)
        // Who says the same again without tags or a source takes none away.
        let same = old?.string("content").map { Array($0.utf8) } == new.content ? old : nil
        value.add("tags", raw: (new.tags.isEmpty ? same?.raw("tags") : nil) ?? Self.texts(new.tags))
        value.add("source", raw: (new.source == nil ? same?.raw("source") : nil) ?? Self.text(new.source))
        value.add("confidence", raw: new.confidence ?? Array("1".utf8))
        value.add("created_at", raw: old?.raw("created_at") ?? Array("\(now)".utf8))
        value.add("updated_at", number: now)
        if let supersedes = new.supersedes { value.add("supersedes", supersedes) }
        // What somebody who knows nothing of us has counted.
        if let count = old?.raw("usage_count") { value.add("usage_count", raw: count) }
        return value.finish()
    }

    private static func text(_ text: [UInt8]?) -> [UInt8] {
        guard let text else { return Array("null".utf8) }
        var buffer = ByteBuffer()
        buffer.writeJSONString(text)
        return Array(buffer.readableBytesView)
    }

    private static func texts(_ texts: [[UInt8]]) -> [UInt8] { array(texts.map { text($0) }) }

    func knowledge(
        _ id: Segment, _ request: ServiceRequest, _ caller: ServiceCaller
    ) async throws(WireError) -> [UInt8] {
        let key = try Self.key(id)
        var object = JSONWriter(continues: true)
        object.add("knowledge", id)
        guard let register = try await caller.get(key) else {
            object.add("key", key.bytes)
            object.add("found", false)
            return object.finish()
        }
        let position = await follower.reach(request.head, within: Self.patience)
        let isKnown = await follower.isComplete && position == .reached
        // What others have said, and what was counted, may be what the caller may not read.
        let isOpen = Self.isOpen(request.grant.read)
        let facts = isOpen ? await index.facts(of: id) : (confidence: 0, uses: 0)
        let said =
            register.object("value")?.raw("confidence").flatMap { Double(String(decoding: $0, as: UTF8.self)) } ?? 1
        object.add("confidence", raw: Array("\(min(1, max(said, facts.confidence)))".utf8))
        let pending = await counters.pendingUses(String(decoding: id.escaped, as: UTF8.self))
        object.add("usage_count", optional: isKnown && isOpen ? facts.uses + pending : nil)
        return object.finish() + Self.members(of: register)
    }
}
