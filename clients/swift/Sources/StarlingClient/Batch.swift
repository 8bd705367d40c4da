import SyncProtocol

/// What becomes of one key of a batch.
public struct BatchWrite: Sendable {
    let key: String
    let message: String
    /// The fence of the claim that it gives up.
    let released: UInt64?

    private init(_ key: String, released: UInt64? = nil, _ fill: (inout Message) throws -> Void) throws {
        try StarlingClient.check(key: key)
        var message = Message(object: key)
        try fill(&message)
        self.key = key
        self.released = released
        self.message = String(decoding: message.bytes, as: UTF8.self)
    }

    /// Sets a key.
    ///
    /// - Parameters:
    ///   - expectation: what has to be in place; nil: whatever is.
    ///   - ttl: how long it is to live; nil: for ever.
    /// - Throws: ``StarlingError`` `bad_key`, `bad_value`.
    public static func set(
        _ key: String, _ value: any Encodable, expecting expectation: Expectation? = nil, ttl: Duration? = nil,
        metadata: (any Encodable)? = nil, session: String? = nil
    ) throws -> BatchWrite {
        try BatchWrite(key) { message in
            let json = try StarlingClient.json(value, of: key)
            let packed = try metadata.map { try StarlingClient.json($0, of: key) }
            try Engine.check(ttl: ttl.map { $0 / .seconds(1) }, value: json, metadata: packed)
            message.add("value", raw: json)
            message.add("ttl", ttl.map { $0 / .seconds(1) })
            message.add("metadata", raw: packed)
            message.add("session", session)
            message.add("expect", expectation)
        }
    }

    /// Deletes a key.
    ///
    /// - Throws: ``StarlingError`` `bad_key`.
    public static func delete(_ key: String, expecting expectation: Expectation? = nil) throws -> BatchWrite {
        try BatchWrite(key) { message in
            message.add("delete", true)
            message.add("expect", expectation)
        }
    }

    /// Gives a claim up, which has to be in force.
    ///
    /// - Throws: ``StarlingError`` `bad_key`.
    public static func release(_ lease: Lease) throws -> BatchWrite {
        try BatchWrite(lease.key, released: lease.fence) { $0.add("release", lease.fence) }
    }
}

/// What has to be in place for a batch.
public enum Requirement: Sendable {
    /// A key is absent, or has this version.
    case key(String, Expectation)
    /// A claim is in force.
    case fence(Fence)

    func json() throws -> String {
        switch self {
        case .key(let key, let expectation):
            try StarlingClient.check(key: key)
            var message = Message(object: key)
            message.add("version", expectation)
            return String(decoding: message.bytes, as: UTF8.self)
        case .fence(let fence):
            var message = Message(object: fence.key)
            message.add("fence", fence.token)
            return String(decoding: message.bytes, as: UTF8.self)
        }
    }
}

/// What became of a batch.
public enum BatchOutcome: Sendable {
    /// All of it was applied: with these revisions, and the version of each write, in their order.
    case applied(revisions: ClosedRange<UInt64>, versions: [String])
    /// Nothing of it was: these could not be met.
    case refused([Failure])

    /// What could not be met.
    public struct Failure: Sendable {
        /// Whether a write or a requirement, by its index.
        public enum Place: Equatable, Sendable {
            case write(Int)
            case requirement(Int)
        }

        /// Which write or requirement it is.
        public let place: Place
        /// The key that it is about.
        public let key: String
        /// `condition`, `held`, `stale_fence` or `too_many_keys`.
        public let reason: String
        /// What is in place, where there is something, and this client may read it.
        public let current: Update?
    }

    /// Whether all of it was applied.
    public var isApplied: Bool {
        if case .applied = self { return true }
        return false
    }

    init(_ answer: JSONObject) throws {
        guard answer.bool("applied") == true else {
            self = .refused((answer.array("failed") ?? []).compactMap { (try? JSONObject($0)).flatMap(Failure.init) })
            return
        }
        guard let first = answer.integer("first"), let last = answer.integer("last"), 0 < first, first <= last else {
            throw StarlingError("bad_answer", "the server applied a batch, and does not say with which revisions")
        }
        self = .applied(
            revisions: UInt64(first)...UInt64(last),
            versions: (answer.array("versions") ?? []).compactMap(JSONObject.string))
    }
}

extension BatchOutcome.Failure {
    fileprivate init?(_ object: JSONObject) {
        if let index = object.integer("write") {
            place = .write(Int(index))
        } else if let index = object.integer("require") {
            place = .requirement(Int(index))
        } else {
            return nil
        }
        key = object.string("key") ?? ""
        reason = object.string("reason") ?? ""
        current = object.object("current")?.held().map { Update($0) }
    }
}

extension Message {
    /// An object about a key, which is no message by itself.
    fileprivate init(object key: String) {
        self.init(member: "key", key)
    }

    fileprivate mutating func add(_ name: String, _ expectation: Expectation?) {
        switch expectation {
        case nil: break
        case .absent: add(name, raw: "null")
        case .version(let version): add(name, version)
        }
    }
}
