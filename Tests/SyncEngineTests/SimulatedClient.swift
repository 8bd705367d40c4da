import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// A client of a ``World``: it keeps a replica by the rules that protocol/README.md gives to clients, and notes whatever
/// a server must never do.
final class SimulatedClient {
    private struct Live {
        var pattern: Pattern
        var cursor: [UInt8]?
        var isSynced = false
        /// Updates since `subscribed`, of which `synced` gives the number when this is the only subscription.
        var updates = 0
        /// The keys seen since `subscribed`, for the snapshot to replace what is held.
        var seen: Set<Key> = []
        var replaces = false
        /// Whether it has been the only subscription all the time, so that every update is its own.
        var isAlone: Bool
        var wantsEcho: Bool
        var isEnding = false
        /// The keys that were there when a first snapshot began, which it has to have when it is called synced.
        var promised: Set<Key> = []
    }

    let name: String
    var connection: ConnectionID?
    var loop = 0
    var isBackedUp = false
    private var nextID = 0
    /// The subscriptions of this connection.
    private var live: [String: Live] = [:]
    /// Patterns held from earlier connections, with the cursors to resume them by.
    private var resumable: [(pattern: Pattern, cursor: [UInt8])] = []
    /// What has been seen on this connection.
    private var seen: [Key: Register] = [:]
    private(set) var replica: [Key: Register] = [:]

    init(name: String) {
        self.name = name
    }

    /// The patterns whose state the replica has, once everything has settled.
    /// Where own writes do not come back they would have to be put into the replica by the client itself; this one does
    /// not, so what such subscriptions cover is left out.
    var syncedPatterns: [Pattern] { live.values.filter { $0.isSynced && $0.wantsEcho }.map(\.pattern) }
    var unsyncedCount: Int { live.values.filter { !$0.isSynced }.count }

    func connected(_ id: ConnectionID) {
        connection = id
        isBackedUp = false
        seen = [:]
        live = [:]
    }

    func disconnected() {
        connection = nil
        resumable = live.values.filter(\.wantsEcho).compactMap { live in live.cursor.map { (live.pattern, $0) } }
        // What no cursor vouches for is given up.
        let kept = resumable.map(\.pattern)
        replica = replica.filter { key, _ in kept.contains { $0.matches(key) } }
    }

    func subscribe(_ random: inout SeededGenerator) -> ClientMessage? {
        guard live.count < 3 else { return nil }
        nextID += 1
        let id = RequestID(json: Array("\"\(nextID)\"".utf8))
        var pattern = Pattern.everything
        var since: Cursor?
        if let (held, cursor) = resumable.popLast() {
            pattern = held
            since = Cursor(cursor)
        } else if let text = ["*", "a:*", "b:1", "?:1", "**:x", "c"].randomElement(using: &random),
            let chosen = try? Pattern(text)
        {
            pattern = chosen
        }
        let isAlone = live.isEmpty
        for id in live.keys { live[id]?.isAlone = false }
        // A resumed subscription goes on from a state that has everything only if nothing was held back from it.
        let wantsEcho = since != nil || Int.random(in: 0..<4, using: &random) > 0
        live["\(nextID)"] = Live(pattern: pattern, replaces: since == nil, isAlone: isAlone, wantsEcho: wantsEcho)
        return .subscribe(
            ClientMessage.Subscribe(
                id: id, pattern: pattern, since: since, wantsSnapshot: true, wantsEcho: wantsEcho,
                wantsCursors: Bool.random(using: &random)))
    }

    func unsubscribe(_ random: inout SeededGenerator) -> ClientMessage? {
        let candidates = live.filter { $0.value.isSynced && !$0.value.isEnding }
        guard let id = candidates.keys.sorted().randomElement(using: &random) else { return nil }
        live[id]?.isEnding = true
        return .unsubscribe(id: RequestID(json: Array("\"\(id)\"".utf8)))
    }

    func receive(_ line: String, world: World) {
        guard let message = try? JSONObject(Array(line.utf8)), let type = message.string("type") else {
            return world.note("\(name) got what is no message: \(line)")
        }
        let id = message.string("id") ?? ""
        switch type {
        case "welcome", "register", "ack": break
        case "subscribed": subscribed(id, message, world)
        case "update": update(message, world)
        case "synced": synced(id, message, world)
        case "cursor":
            if live[id] == nil { world.note("\(name) got a cursor for \(id), which it does not have") }
            if live[id]?.isSynced == true { live[id]?.cursor = message.string("cursor").map { Array($0.utf8) } }
        case "unsubscribed":
            live[id] = nil
            let kept = live.values.map(\.pattern) + resumable.map(\.pattern)
            replica = replica.filter { key, _ in kept.contains { $0.matches(key) } }
        default: world.note("\(name) got \(line)")
        }
    }

    private func subscribed(_ id: String, _ message: JSONObject, _ world: World) {
        if message.bool("replace") == true { live[id]?.replaces = true }
        // What other subscriptions brought since this one was asked for is no part of its snapshot.
        live[id]?.seen = []
        guard let subscription = live[id], subscription.replaces,
            let cursor = message.string("cursor").flatMap({ Cursor(Array($0.utf8)) })
        else { return }
        let there = world.store.committed.values.filter { $0.revision <= cursor.revision && !$0.register.isTombstone }
        live[id]?.promised = Set(there.map(\.register.key).filter(subscription.pattern.matches))
    }

    private func synced(_ id: String, _ message: JSONObject, _ world: World) {
        guard let subscription = live[id], !subscription.isSynced else {
            return world.note("\(name) got synced for \(id) out of turn")
        }
        if subscription.isAlone, message.integer("count") != Int64(subscription.updates) {
            world.note(
                "\(name) counted \(subscription.updates) updates: \(message.integer("count") ?? -1) were announced")
        }
        if !subscription.promised.isSubset(of: subscription.seen) {
            world.note("\(name) is called synced without \(subscription.promised.subtracting(subscription.seen))")
        }
        if subscription.replaces {
            replica = replica.filter { key, _ in !subscription.pattern.matches(key) || subscription.seen.contains(key) }
        }
        live[id]?.isSynced = true
        live[id]?.cursor = message.string("cursor").map { Array($0.utf8) }
    }

    private func update(_ message: JSONObject, _ world: World) {
        guard let key = message.string("key").flatMap({ try? Key($0) }),
            let version = message.string("version").flatMap({ try? Version($0) })
        else { return world.note("\(name) got an update without key and version") }
        let matching = live.filter { $0.value.pattern.matches(key) }
        if matching.isEmpty { world.note("\(name) got \(key), which it did not subscribe to") }
        if message.bool("transient") == true { return }
        for id in matching.keys {
            live[id]?.updates += 1
            live[id]?.seen.insert(key)
        }
        let isDeleted = message.bool("deleted") == true
        let register = Register(key: key, version: version, value: isDeleted ? nil : message.raw("value"))
        if let last = seen[key], Register.compare(register, last) < 0 {
            world.note("\(name) saw \(key) go back from \(last.version) to \(version)")
        }
        seen[key] = register
        if Register.merge(register, into: replica[key]) == .applied { replica[key] = register }
    }
}
