public import Foundation
import NIOCore
import Registers
import SyncProtocol

extension StarlingClient {
    /// What agents remember.
    public var memory: Memory { Memory(client: self) }
    /// What is known, whoever said it.
    public var knowledge: Knowledge { Knowledge(client: self) }

    /// Finds memories and knowledge by their words, on the server: what was acknowledged a moment ago, too.
    ///
    /// - Parameters:
    ///   - query: words, all of which have to be there; `"a phrase"`; `begin*`; `OR`.
    ///   - fields: `in`, `agent`, `pattern`, `tags`, `limit`, `order`, `except_session` (`protocol/README.md`, Memory and knowledge).
    /// - Returns: the answer as JSON, with `results`, `searched` and `complete`.
    /// - Throws: ``StarlingError``: what the server has against it.
    public func search(
        _ query: String, _ fields: Swarm.Fields = [:], timeout: Duration = StarlingClient.patience
    ) async throws -> Data {
        try await request("search", Swarm.Members(fields.merging(["query": query]) { $1 }), timeout: timeout)
    }
}

/// What an agent remembers.
public struct Remembered: Sendable {
    /// The name that it is remembered under.
    public let name: String
    /// Its value as JSON.
    public let json: Data
    /// The version of its register; nil as long as it is on its way to the server.
    public let version: String?
    /// When it was first stored; nil: nobody knows.
    public let createdAt: Date?
    /// What it was marked with.
    public let tags: [String]
    /// When it ends; nil: not by itself.
    public let expiresAt: Date?

    /// Its value.
    ///
    /// - Throws: `DecodingError`.
    public func value<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
        try JSONDecoder().decode(type, from: json)
    }

    init(_ name: String, json: [UInt8], version: String?, metadata: [UInt8]?, expiresAt: Date?) {
        let metadata = MemoryMetadata(metadata)
        self.name = name
        self.json = Data(json)
        self.version = version
        createdAt = metadata.createdAt.map { Date(timeIntervalSince1970: Double($0)) }
        tags = metadata.tags.map { String(decoding: $0, as: UTF8.self) }
        self.expiresAt = expiresAt
    }

    init(_ name: String, _ register: JSONObject) {
        self.init(
            name, json: register.raw("value") ?? [], version: register.string("version"),
            metadata: register.raw("metadata"),
            expiresAt: register.integer("expires_at").map { Date(timeIntervalSince1970: Double($0) / 1_000) })
    }
}

/// What agents remember: `docs/memory.md` says what is promised. Of the client's own agent, unless another is named.
public struct Memory: Sendable {
    let client: StarlingClient

    private func key(_ name: String, _ agent: String?) throws -> String {
        do throws(TextError) {
            let memory = MemoryKey(agent: try Segment(agent ?? client.agent), name: Array(name.utf8))
            return String(decoding: try memory.key().bytes, as: UTF8.self)
        } catch {
            throw StarlingError("bad_key", error.description)
        }
    }

    /// Stores something; what was there under the same name is replaced. A write like any other: it is seen here at once, and queued while there is no
    /// server.
    ///
    /// - Parameters:
    ///   - agent: whose memory it is; nil: the client's own.
    ///   - ttl: how long it lives; nil: for ever.
    ///   - refreshOnRead: whether it lives for `ttl` again when ``retrieve(_:agent:timeout:)`` reads it.
    ///   - isIndexed: whether a search finds it.
    /// - Throws: ``StarlingError`` as `broadcast` does; `bad_option` where there is nothing to refresh by.
    @discardableResult
    public func store(
        _ name: String, _ value: any Encodable, agent: String? = nil, ttl: Duration? = nil, tags: [String] = [],
        refreshOnRead: Bool = false, isIndexed: Bool = true, session: String? = nil
    ) throws -> PendingWrite {
        if refreshOnRead, ttl == nil {
            throw StarlingError("bad_option", "refreshOnRead needs ttl: for how long it lives on when it is read")
        }
        var metadata = MemoryMetadata()
        metadata.tags = tags.map { Array($0.utf8) }
        metadata.refreshesOnRead = refreshOnRead
        metadata.isIndexed = isIndexed
        let time = ttl.map { Array("\($0 / .seconds(1))".utf8) }
        return try client.write(
            try key(name, agent), try StarlingClient.json(value, of: name), ttl,
            String(decoding: metadata.json(timeToLive: time, beside: nil), as: UTF8.self), session)
    }

    /// What is remembered under a name; nil: nothing. Without a connection it is what the replica has.
    ///
    /// - Throws: ``StarlingError``: what the server has against it.
    public func retrieve(
        _ name: String, agent: String? = nil, timeout: Duration = StarlingClient.patience
    ) async throws -> Remembered? {
        let key = try key(name, agent)
        let fields: Swarm.Fields = ["agent": agent ?? client.agent, "key": name]
        do {
            let answer = try await client.request("memory.get", Swarm.Members(fields), timeout: timeout)
            guard let object = try? JSONObject(Array(answer)), object.bool("found") == true else { return nil }
            return Remembered(name, object)
        } catch let error as StarlingError where error.code == "offline" {
            guard let entry = client.entry(key), let value = entry.json else { return nil }
            return Remembered(
                name, json: Array(value.utf8), version: entry.version, metadata: entry.metadata.map { Array($0.utf8) },
                expiresAt: entry.expiresAt)
        }
    }

    /// What is remembered under names that begin so, in their order.
    ///
    /// - Throws: ``StarlingError``: what the server has against it.
    public func list(
        _ prefix: String = "", agent: String? = nil, timeout: Duration = StarlingClient.patience
    ) async throws -> [Remembered] {
        let start = try key("x", agent).utf8.count - 1
        var found: [Remembered] = []
        var fields: Swarm.Fields = ["agent": agent ?? client.agent, "prefix": prefix]
        while true {
            let answer = try await client.request("memory.list", Swarm.Members(fields), timeout: timeout)
            guard let object = try? JSONObject(Array(answer)) else { return found }
            for register in (object.array("registers") ?? []).compactMap({ try? JSONObject($0) }) {
                let key = register.string("key") ?? ""
                found.append(Remembered(String(decoding: key.utf8.dropFirst(start), as: UTF8.self), register))
            }
            guard let next = object.string("next") else { return found }
            fields["after"] = next
        }
    }

    /// Forgets what is remembered under a name.
    ///
    /// - Throws: ``StarlingError`` as `delete` does.
    @discardableResult
    public func delete(_ name: String, agent: String? = nil) throws -> PendingWrite {
        try client.delete(try key(name, agent))
    }
}

/// What is known, whoever said it.
public struct Knowledge: Sendable {
    let client: StarlingClient

    /// Says what this agent knows. The same text twice is one knowledge.
    ///
    /// - Parameter fields: `tags`, `source`, `confidence` (0 to 1), `ttl` in seconds, `supersedes`, `knowledge` (a name of its own).
    /// - Returns: its name.
    /// - Throws: ``StarlingError``: what the server has against it.
    @discardableResult
    public func add(
        _ topic: String, _ content: String, _ fields: Swarm.Fields = [:], timeout: Duration = StarlingClient.patience
    ) async throws -> String {
        let all = fields.merging(["topic": topic, "content": content] as Swarm.Fields) { $1 }
        let answer = try await client.request("knowledge.put", Swarm.Members(all), timeout: timeout)
        guard let name = (try? JSONObject(Array(answer)))?.string("knowledge") else {
            throw StarlingError("protocol_violation", "the server gave no name")
        }
        return name
    }

    /// Forgets what is known under a name, whoever said it.
    ///
    /// - Throws: ``StarlingError`` as `delete` does.
    @discardableResult
    public func delete(_ name: String) throws -> PendingWrite {
        let escaped: [UInt8]
        do throws(TextError) {
            escaped = try Segment(name).escaped
        } catch {
            throw StarlingError("bad_key", error.description)
        }
        return try client.delete("knowledge:" + String(decoding: escaped, as: UTF8.self))
    }

    /// What is known under a name: the answer as JSON, with `value`, `confidence` and `usage_count`; nil: nothing.
    ///
    /// - Throws: ``StarlingError``: what the server has against it.
    public func get(_ name: String, timeout: Duration = StarlingClient.patience) async throws -> Data? {
        let answer = try await client.request("knowledge.get", ["knowledge": name], timeout: timeout)
        return (try? JSONObject(Array(answer)))?.bool("found") == true ? answer : nil
    }
}
