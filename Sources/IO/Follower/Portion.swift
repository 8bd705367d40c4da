import NIOCore
package import Registers
import SyncProtocol

/// A change of a register, as subscribers are told of it.
package struct FollowedChange: Sendable {
    package var key: Key
    /// nil: it is gone.
    package var value: [UInt8]?
    package var metadata: [UInt8]?
    package var session: String?
    package var agent: String?

    /// Reads an `update`.
    init?(_ update: JSONObject) {
        guard let name = update.string("key"), let key = try? Key(name) else { return nil }
        self.key = key
        value = update.bool("deleted") == true ? nil : update.raw("value")
        metadata = update.raw("metadata")
        session = update.string("session")
        agent = update.string("agent")
    }
}

/// What a follower hands to its store at once, to be kept in one transaction.
package struct Portion: Sendable {
    package internal(set) var changes: [FollowedChange] = []
    /// Up to where each pattern has been told of, by its index, where that is known anew.
    package internal(set) var cursors: [Int: String] = [:]

    package var isEmpty: Bool { changes.isEmpty && cursors.isEmpty }
}

/// What a follower keeps: derived from registers, and of no value by itself.
package protocol DerivedStore: Sendable {
    /// Makes it ready, and says up to where it has been told of each pattern; nil: of nothing.
    ///
    /// - Throws: where it cannot be used.
    func open(patterns: [String]) async throws -> [String?]
    /// Keeps a portion, all of it or nothing.
    func apply(_ portion: Portion) async throws
    /// Throws all of it away.
    func discard() async throws
}
