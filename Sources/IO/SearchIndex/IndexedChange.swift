import Agents
import Follower
import GRDB
import Registers
import SyncProtocol

/// A change of a register, as far as the index wants to know of it.
enum IndexedChange {
    case document(Document)
    case gone(key: String)
    /// `confidence`: nil: it is gone. `seen`: when it was said, in seconds.
    case source(knowledge: String, agent: String, confidence: Double?, seen: Int64)
    case uses(knowledge: String, epoch: String, count: Int64?)

    struct Document {
        var key: String
        var kind: DocumentKind
        var namespace = ""
        var name: String
        var topic: String
        var tags: String
        var body: String
        var session: String?
        var confidence = 1.0
        /// Of knowledge, in seconds.
        var created: Int64 = 0
    }

    /// - Returns: nil where it is none of what is indexed.
    init?(_ change: FollowedChange) {
        let key = String(decoding: change.key.bytes, as: UTF8.self)
        if let memory = MemoryKey(change.key) {
            self = Self.memory(memory, key, change)
            return
        }
        let parts = key.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        switch (parts.first, parts.count) {
        case ("knowledge", 2): self = Self.knowledge(parts[1], key, change)
        case ("knowledge", 4) where parts[2] == "source":
            let value = change.value.flatMap { try? JSONObject($0) }
            let confidence = change.value.map { _ in value?.double("confidence") ?? 1 }
            self = .source(
                knowledge: parts[1], agent: parts[3], confidence: confidence, seen: value?.integer("seen_at") ?? 0)
        case ("usage", 4) where parts[1] == "knowledge":
            let count = change.value.map { (try? JSONObject($0))?.integer("usage_count") ?? 0 }
            // No sum of these is too great.
            self = .uses(knowledge: parts[2], epoch: parts[3], count: count.map { min(max(0, $0), 1 << 40) })
        default: return nil
        }
    }

    private static func memory(_ memory: MemoryKey, _ key: String, _ change: FollowedChange) -> IndexedChange {
        let metadata = MemoryMetadata(change.metadata)
        guard let value = change.value, metadata.isIndexed else { return .gone(key: key) }
        let name = String(decoding: memory.name, as: UTF8.self)
        return .document(
            Document(
                key: key, kind: .memory, namespace: String(decoding: memory.agent.escaped, as: UTF8.self), name: name,
                topic: name, tags: Tags.text(metadata.tags),
                body: String(decoding: SearchText.plain(value), as: UTF8.self),
                session: change.session))
    }

    private static func knowledge(_ id: String, _ key: String, _ change: FollowedChange) -> IndexedChange {
        guard let value = change.value else { return .gone(key: key) }
        // Somebody may have written anything there; then its text is found all the same.
        let object = try? JSONObject(value)
        let tags = (object?.array("tags") ?? []).compactMap { JSONObject.string($0).map { Array($0.utf8) } }
        let body = object?.raw("content") ?? value
        return .document(
            Document(
                key: key, kind: .knowledge, name: id, topic: object?.string("topic") ?? "", tags: Tags.text(tags),
                body: String(decoding: SearchText.plain(body), as: UTF8.self), session: change.session,
                confidence: min(1, max(0, object?.double("confidence") ?? 1)),
                created: object?.integer("created_at") ?? 0))
    }

    func apply(to database: Database, counting counts: inout NamespaceCounts) throws {
        switch self {
        case .document(let document):
            try Self.remove(document.key, database, &counts)
            try document.insert(database)
            counts.add(.init(kind: document.kind, name: document.namespace), 1)
        case .gone(let key): try Self.remove(key, database, &counts)
        case .source(let knowledge, let agent, let confidence?, let seen):
            try database.cachedStatement(sql: "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?)")
                .execute(arguments: [knowledge, agent, confidence, seen])
        case .source(let knowledge, let agent, nil, _):
            try database.cachedStatement(sql: "DELETE FROM sources WHERE knowledge = ? AND agent = ?")
                .execute(arguments: [knowledge, agent])
        case .uses(let knowledge, let epoch, let count?):
            try database.cachedStatement(sql: "INSERT OR REPLACE INTO uses VALUES (?, ?, ?)")
                .execute(arguments: [knowledge, epoch, count])
        case .uses(let knowledge, let epoch, nil):
            try database.cachedStatement(sql: "DELETE FROM uses WHERE knowledge = ? AND epoch = ?")
                .execute(arguments: [knowledge, epoch])
        }
    }

    private static func remove(_ key: String, _ database: Database, _ counts: inout NamespaceCounts) throws {
        let find = try database.cachedStatement(
            sql: "SELECT id, topic, tags, body, kind, namespace FROM documents WHERE key = ?")
        guard let old = try Row.fetchOne(find, arguments: [key]) else { return }
        try database.cachedStatement(
            sql: "INSERT INTO documents_text (documents_text, rowid, topic, tags, body) VALUES ('delete', ?, ?, ?, ?)"
        ).execute(arguments: [old[0] as Int64, old[1] as String, old[2] as String, old[3] as String])
        try database.cachedStatement(sql: "DELETE FROM documents WHERE id = ?").execute(arguments: [old[0] as Int64])
        if let kind = DocumentKind(rawValue: old[4]) { counts.add(.init(kind: kind, name: old[5]), -1) }
    }
}

extension IndexedChange.Document {
    fileprivate func insert(_ database: Database) throws {
        try database.cachedStatement(
            sql: """
                INSERT INTO documents (key, kind, namespace, name, topic, folded, tags, body, session, confidence, created)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            key, kind.rawValue, namespace, name, topic, topic.lowercased(), tags, body, session, confidence, created,
        ])
        try database.cachedStatement(
            sql: "INSERT INTO documents_text (rowid, topic, tags, body) VALUES (?, ?, ?, ?)"
        ).execute(arguments: [database.lastInsertedRowID, topic, tags, body])
    }
}

/// Tags in one column: each with a line break before and behind it, which no tag has.
enum Tags {
    static func text(_ tags: [[UInt8]]) -> String {
        let plain = tags.filter { tag in !tag.contains { $0 < 0x20 } }
        return plain.isEmpty
            ? "" : "\n" + plain.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n") + "\n"
    }

    static func has(_ tag: [UInt8], in text: String) -> Bool {
        text.utf8.split(separator: UInt8(ascii: "\n")).contains { $0.elementsEqual(tag) }
    }
}

extension JSONObject {
    fileprivate func double(_ name: String) -> Double? {
        raw(name).flatMap { Double(String(decoding: $0, as: UTF8.self)) }.flatMap { $0.isFinite ? $0 : nil }
    }
}
