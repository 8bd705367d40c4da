import Hummingbird
import Loops
import NIOCore
import Registers
import SyncProtocol

/// Waits until a key has another version, or another revision, than the caller knows.
struct LongPoll {
    /// The longest wait, in seconds: a proxy in between gives up after a minute.
    private static let longest: UInt64 = 50

    let key: String
    /// The version that is known; nil where the revision counts.
    let version: String?
    /// The revision that is known.
    let revision: Int64?
    /// In seconds.
    let patience: UInt64

    /// - Returns: nil where there is nothing to wait for.
    /// - Throws: ``Problem`` where it is not said what is known.
    init?(key: String, version: String?, _ query: Query) throws(Problem) {
        guard let patience = try query.number("wait", 0...Self.longest) else {
            if try query.one("revision") != nil {
                throw Problem(.badMessage, "revision says what to wait for, with wait")
            }
            return nil
        }
        revision = try query.number("revision", 0...UInt64(Int64.max)).map { Int64($0) }
        guard (version == nil) != (revision == nil) else {
            throw Problem(
                .badMessage, "wait needs what is known: If-None-Match with the entity tag, or revision, and not both")
        }
        self.key = key
        self.version = version
        self.patience = patience
    }

    /// Whether what is there is something else than what is known.
    func isOver(_ found: Found) -> Bool {
        if let revision { return found.value == nil ? revision != 0 : found.revision != revision }
        return found.value == nil || found.version != version
    }

    /// - Returns: what is there once it is something else; nil where the time was over before.
    func wait(_ session: HTTPSession, _ caller: Caller) async throws(Problem) -> Found? {
        let connection = try await session.open(for: caller)
        defer { connection.close() }
        var subscribe = SyncMessage("subscribe")
        subscribe.add("id", "0")
        subscribe.add("pattern", Self.pattern(of: key))
        connection.send(subscribe)
        let end = ContinuousClock.now + .seconds(patience)
        var isThere = false
        while true {
            let left = (end - .now) / .nanoseconds(1)
            guard left > 0 else { return nil }
            switch await connection.next(within: .nanoseconds(Int64(left))) {
            case .messages(let messages):
                for message in messages {
                    guard let found = try look(at: message, isThere: &isThere) else { continue }
                    if isOver(found) { return found }
                }
            case .silence: if Task.isCancelled { return nil }
            case .end(let end): throw Problem(end)
            }
        }
    }

    /// - Parameter isThere: whether the snapshot has had the key.
    /// - Returns: what a message says of the key; nil where it says nothing.
    private func look(at message: ByteBuffer, isThere: inout Bool) throws(Problem) -> Found? {
        guard let object = try? JSONObject(Array(message.readableBytesView)) else { return nil }
        if let problem = Problem(object) { throw problem }
        switch object.string("type") {
        // Of what is seen and not kept, the key knows nothing.
        case "update" where object.bool("transient") != true:
            isThere = true
            return Found(object)
        // It was deleted before there was anybody to be told.
        case "synced" where !isThere: return Found(absent: ())
        default: return nil
        }
    }

    /// The pattern that matches one key.
    private static func pattern(of key: String) -> String {
        key.unicodeScalars.reduce(into: "") { pattern, scalar in
            if "\\*?".unicodeScalars.contains(scalar) { pattern.unicodeScalars.append("\\") }
            pattern.unicodeScalars.append(scalar)
        }
    }
}
