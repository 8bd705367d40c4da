import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// A client of a ``World``: it keeps replicas by the rules that protocol/README.md gives to clients, an outbox that it
/// sends again after a break, and notes whatever a server must never do.
final class SimulatedClient {
    private struct Live {
        var pattern: Pattern
        var cursor: [UInt8]?
        var isSynced = false
        /// Updates since `subscribed`, of which `synced` gives the number when this is the only subscription.
        var updates = 0
        /// What it holds: the state at the cursor that it went on from, or nothing, and what has come since. Each subscription
        /// has its own: what another one brought does not say that this one's snapshot left a key out.
        var held: [Key: Register] = [:]
        var replaces = false
        /// Whether it has been the only subscription all the time, so that every update is its own.
        var isAlone: Bool
        var wantsEcho: Bool
        var isEnding = false
        /// The keys that were there when a first snapshot began, which it has to have when it is called synced.
        var promised: Set<Key> = []
        var promisedRevisions: [Key: Revision] = [:]
    }

    private static let patterns = ["*", "*", "d:*", "d:*", "d:*", "a:*", "b:1", "?:1", "**:x", "c", "l:*", "p:*"]

    let name: String
    var connection: SimulatedConnection?
    var loop = 0
    /// How far the client's clock is off, in milliseconds.
    let skew: Int64
    var outbox: Outbox
    private var nextID = 0
    private var hasNewCursor = false
    /// The start of a message of which the rest is still to come.
    private var inbound: [UInt8] = []
    /// The subscriptions of this connection.
    private var live: [String: Live] = [:]
    /// Patterns held from earlier connections, with the cursors to resume them by.
    private var resumable: [Resumable] = []
    /// What has been seen on this connection.
    private var seen: [Key: Register] = [:]

    private struct Resumable {
        var pattern: Pattern
        var cursor: [UInt8]
        var held: [Key: Register]
    }

    init(name: String, skew: Int64) {
        self.name = name
        self.skew = skew
        outbox = Outbox(name: name)
    }

    /// The patterns whose state it has, with that, once everything has settled.
    /// Where own writes do not come back they would have to be put in by the client itself; this one does not, so what
    /// such subscriptions cover is left out.
    var replicas: [(pattern: Pattern, held: [Key: Register])] {
        live.values.filter { $0.isSynced && $0.wantsEcho }.map { ($0.pattern, $0.held) }
    }
    var hasSubscriptions: Bool { !live.isEmpty }
    var unsyncedCount: Int { live.values.filter { !$0.isSynced }.count }

    func connected(_ connection: SimulatedConnection) {
        self.connection = connection
        inbound = []
        seen = [:]
        live = [:]
        connection.uplink += outbox.resend()
    }

    func disconnected() {
        connection?.isAbandoned = true
        connection = nil
        let cursors = live.sorted { $0.key < $1.key }.map(\.value).filter(\.wantsEcho).compactMap { live in
            live.cursor.map { Resumable(pattern: live.pattern, cursor: $0, held: live.held) }
        }
        // What has not been resumed yet can still be.
        resumable = cursors + resumable
    }

    func subscribe(_ random: inout SeededGenerator) -> ClientMessage? {
        guard live.count < 3 else { return nil }
        nextID += 1
        let id = RequestID(json: Array("\"\(nextID)\"".utf8))
        var pattern = Pattern.everything
        var since: Cursor?
        var held: [Key: Register] = [:]
        if let resumed = resumable.popLast() {
            pattern = resumed.pattern
            since = Cursor(resumed.cursor)
            held = resumed.held
        } else if let text = Self.patterns.randomElement(using: &random),
            let chosen = try? Pattern(text)
        {
            pattern = chosen
        }
        let isAlone = live.isEmpty
        for id in live.keys { live[id]?.isAlone = false }
        // A resumed subscription goes on from a state that has everything only if nothing was held back from it.
        let wantsEcho = since != nil || Int.random(in: 0..<4, using: &random) > 0
        live["\(nextID)"] = Live(
            pattern: pattern, held: held, replaces: since == nil, isAlone: isAlone, wantsEcho: wantsEcho)
        return .subscribe(
            ClientMessage.Subscribe(
                id: id, pattern: pattern, since: since, wantsSnapshot: true, wantsEcho: wantsEcho,
                wantsCursors: Bool.random(using: &random), wantsConflated: Bool.random(using: &random)))
    }

    func unsubscribe(_ random: inout SeededGenerator) -> ClientMessage? {
        let candidates = live.filter { $0.value.isSynced && !$0.value.isEnding }
        guard let id = candidates.keys.sorted().randomElement(using: &random) else { return nil }
        live[id]?.isEnding = true
        return .unsubscribe(id: RequestID(json: Array("\"\(id)\"".utf8)))
    }

    /// Whether it was told a place to go on from since it was asked this last.
    func takesCursor() -> Bool {
        defer { hasNewCursor = false }
        return hasNewCursor
    }

    // MARK: Receiving

    /// Bytes have come.
    func receive(_ bytes: [UInt8], _ world: World) {
        inbound += bytes
        while let end = inbound.firstIndex(of: UInt8(ascii: "\n")) {
            let line = Array(inbound[..<end])
            inbound.removeFirst(end + 1)
            receive(line: line, world)
        }
    }

    private func receive(line: [UInt8], _ world: World) {
        guard let message = try? JSONObject(line), let type = message.string("type") else {
            return world.note("\(name) got what is no message: \(String(decoding: line, as: UTF8.self))")
        }
        let id = message.string("id") ?? ""
        world.count(message.string("code").map { "\(type) \($0)" } ?? type)
        switch type {
        case "welcome", "register", "conflated": break
        case "ack", "claimed", "released", "refused", "batched", "task", "tasks", "none", "swarm":
            outbox.answered(id, type, message, world)
        case "error":
            if live[id] != nil {
                live[id] = nil
            } else if let again = outbox.failed(id, message, world) {
                connection?.uplink.append(again)
            }
        case "subscribed": subscribed(id, message, world)
        case "update": update(message, world)
        case "synced": synced(id, message, world)
        case "cursor":
            if live[id] == nil { world.note("\(name) got a cursor for \(id), which it does not have") }
            if live[id]?.isSynced == true {
                live[id]?.cursor = message.string("cursor").map { Array($0.utf8) }
                hasNewCursor = true
            }
        case "unsubscribed":
            live[id] = nil
        default: world.note("\(name) got \(String(decoding: line, as: UTF8.self))")
        }
    }

    private func subscribed(_ id: String, _ message: JSONObject, _ world: World) {
        if message.bool("replace") == true { live[id]?.replaces = true }
        // What other subscriptions brought since this one was asked for is no part of its snapshot.
        if live[id]?.replaces == true { live[id]?.held = [:] }
        guard let subscription = live[id], subscription.replaces,
            let cursor = message.string("cursor").flatMap({ Cursor(Array($0.utf8)) }), cursor.epoch == world.disk.epoch
        else { return }
        let there = world.disk.committed.values.filter {
            $0.revision <= cursor.revision && !$0.register.isTombstone && $0.register.expiresAt == nil
        }
        live[id]?.promised = Set(there.map(\.register.key).filter(subscription.pattern.matches))
        live[id]?.promisedRevisions = world.disk.committed.mapValues(\.revision)
    }

    private func synced(_ id: String, _ message: JSONObject, _ world: World) {
        guard let subscription = live[id], !subscription.isSynced else {
            return world.note("\(name) got synced for \(id) out of turn")
        }
        if subscription.isAlone, message.integer("count") != Int64(subscription.updates) {
            world.note(
                "\(name) counted \(subscription.updates) updates: \(message.integer("count") ?? -1) were announced")
        }
        // What was written since with a time to live may be over by now, and is then no part of the snapshot.
        let missing = subscription.promised.subtracting(subscription.held.keys).filter {
            world.disk.committed[$0]?.revision == subscription.promisedRevisions[$0]
        }
        if !missing.isEmpty { world.note("\(name) is called synced without \(missing)") }
        live[id]?.isSynced = true
        live[id]?.cursor = message.string("cursor").map { Array($0.utf8) }
    }

    private func update(_ message: JSONObject, _ world: World) {
        guard let register = Self.register(message) else {
            return world.note("\(name) got an update without key and version")
        }
        let key = register.key
        let matching = live.filter { $0.value.pattern.matches(key) }
        if matching.isEmpty { world.note("\(name) got \(key), which it did not subscribe to") }
        if message.bool("transient") == true { return }
        // A first snapshot, with nothing else on the connection, tells each state of a key once. (A greater world could do
        // otherwise: what was sent is remembered within a bound.)
        if matching.values.contains(where: { $0.isAlone && $0.replaces && $0.held[key] == register }) {
            world.note("\(name) got \(key) at \(register.version) twice in one snapshot")
        }
        for id in matching.keys {
            live[id]?.updates += 1
            if Register.merge(register, into: live[id]?.held[key]) == .applied { live[id]?.held[key] = register }
        }
        if let last = seen[key], Register.compare(register, last) < 0 {
            world.note("\(name) saw \(key) go back from \(last.version) to \(register.version)")
        }
        seen[key] = register
    }

    /// The register that an update tells of.
    static func register(_ message: JSONObject) -> Register? {
        guard let key = message.string("key").flatMap({ try? Key($0) }),
            let version = message.string("version").flatMap({ try? Version($0) })
        else { return nil }
        return Register(
            key: key, version: version, value: message.bool("deleted") == true ? nil : message.raw("value"),
            expiresAt: message.integer("expires_at").map { WallTime(milliseconds: UInt64($0)) },
            metadata: message.raw("metadata"),
            session: message.string("session").map { Array($0.utf8) },
            cause: message.string("cause").flatMap { Register.Cause(rawValue: $0) })
    }
}
