public import Foundation
import Registers

/// A register, as it is to be seen now.
public struct Update: Equatable, Sendable {
    /// Whose register it is.
    public let key: String
    /// The value's JSON; nil for a deleted register.
    public let json: String?
    /// Whether there is nothing any more.
    public let isDeleted: Bool
    /// Empty where the register is gone without anything in its place.
    public let version: String
    /// When it was written, as far as its writer's clock was right.
    public let timestamp: Date?
    /// Who wrote it.
    public let agent: String?
    /// Its place in the order of changes of one database; nil while it is pending.
    public let revision: UInt64?
    /// When it expires, by the server's clock; nil: never.
    public let expiresAt: Date?
    /// The metadata's JSON.
    public let metadata: String?
    /// The session that the write belongs to.
    public let session: String?
    /// Why it is as it is, where that is not plainly a write: `expired`, `disconnected`, `refused`, `resync`.
    public let cause: String?
    /// Whether it is this client's own write, and still on its way.
    public let isPending: Bool
    /// Whether it was broadcast without being stored.
    public let isTransient: Bool

    /// The value, decoded from its JSON.
    ///
    /// - Throws: `DecodingError`, also when the register is deleted.
    public func value<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
        try JSONDecoder().decode(type, from: Data((json ?? "").utf8))
    }
}

/// A register with the revision that it got.
struct Held: Equatable, Sendable {
    var register: Register
    var revision: UInt64?
    /// Whether it is a write of this client's outbox.
    var isOwn = false
}

extension Update {
    init(_ held: Held, isPending: Bool = false, cause: String? = nil, isTransient: Bool = false) {
        let register = held.register
        key = register.key.description
        json = register.value.map { String(decoding: $0, as: UTF8.self) }
        isDeleted = register.isTombstone
        version = register.version.description
        timestamp = Date(timeIntervalSince1970: Double(register.version.stamp.milliseconds) / 1_000)
        agent = register.version.agent.description
        revision = held.revision
        expiresAt = register.expiresAt.map { Date(timeIntervalSince1970: Double($0.milliseconds) / 1_000) }
        metadata = register.metadata.map { String(decoding: $0, as: UTF8.self) }
        session = register.session.map { String(decoding: $0, as: UTF8.self) }
        self.cause = register.cause?.rawValue ?? cause
        self.isPending = isPending
        self.isTransient = isTransient
    }

    /// Nothing is to be seen of a key any more.
    init(gone key: Key, cause: String?) {
        self.key = key.description
        json = nil
        isDeleted = true
        version = ""
        timestamp = nil
        agent = nil
        revision = nil
        expiresAt = nil
        metadata = nil
        session = nil
        self.cause = cause
        isPending = false
        isTransient = false
    }
}
