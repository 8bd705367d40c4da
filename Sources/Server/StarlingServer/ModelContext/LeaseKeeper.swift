import Access
import Agents
import Loops
import ModelContext
import NIOCore
import Registers
import SyncProtocol

/// Keeps what an agent holds that comes by MCP: a model may think for long, and has no thread to renew a lease. Each of its calls does.
///
/// What is held, and by whom, it knows by a subscription of its own, which begins when an agent makes the first call.
actor LeaseKeeper {
    private static let patterns = [
        "claims": "swarm:*:task:*:claim", "presence": "swarm:*:agent:*:\(AgentPresence.name)",
    ]
    /// Which part of a lease is left when nothing is renewed yet.
    private static let untouched = 0.9
    /// How long a first call waits to know what there is.
    private static let patience = Duration.seconds(2)

    /// What an agent holds.
    private struct Held {
        var agent: String
        /// What renews it.
        var renewal: SyncMessage
        /// In milliseconds since 1970.
        var expiresAt: Int64
        /// What was left when it was told, in milliseconds.
        var lease: Int64
    }

    private let connections: InProcessConnections
    private let eventLoop: any EventLoop
    private var held: [String: Held] = [:]
    private var keys: [String: Set<String>] = [:]
    private var synced: Set<String> = []
    private var following: Task<Void, Never>?
    /// Whose leases are being renewed.
    private var renewing: Set<String> = []

    init(_ connections: InProcessConnections, on eventLoop: any EventLoop) {
        self.connections = connections
        self.eventLoop = eventLoop
    }

    func stop() async {
        following?.cancel()
        await following?.value
    }

    /// Renews what an agent holds, where some of its time is used up.
    ///
    /// - Parameter ask: asks in the agent's name.
    func renew(_ agent: String, _ ask: @Sendable ([SyncMessage]) async -> Void) async {
        guard renewing.insert(agent).inserted else { return }
        defer { renewing.remove(agent) }
        if following == nil { following = Task { await follow() } }
        let end = ContinuousClock.now + Self.patience
        while synced.count < Self.patterns.count, ContinuousClock.now < end {
            try? await Task.sleep(for: .milliseconds(20))
        }
        let now = Int64(clamping: SystemClock.now().milliseconds)
        let due = (keys[agent] ?? []).compactMap { held[$0] }.filter { held in
            held.expiresAt > now && Double(held.expiresAt - now) < Double(held.lease) * Self.untouched
        }
        if !due.isEmpty { await ask(due.map(\.renewal)) }
    }

    // MARK: What is held

    private func follow() async {
        while !Task.isCancelled {
            held = [:]
            keys = [:]
            synced = []
            if let connection = try? await connections.open(.server, on: eventLoop, isTaken: true) {
                await follow(connection)
                connection.close()
            }
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func follow(_ connection: InProcessConnection) async {
        for (id, pattern) in Self.patterns {
            var subscribe = SyncMessage("subscribe")
            subscribe.add("id", id)
            subscribe.add("pattern", pattern)
            connection.send(subscribe)
        }
        while !Task.isCancelled {
            switch await connection.next(within: .seconds(60)) {
            case .messages(let messages):
                for message in messages {
                    guard let object = try? JSONObject(Array(message.readableBytesView)) else { continue }
                    take(object)
                }
            case .silence: continue
            case .end: return
            }
        }
    }

    private func take(_ message: JSONObject) {
        switch message.string("type") {
        case "synced": if let id = message.string("id") { synced.insert(id) }
        case "update":
            guard let key = message.string("key") else { return }
            if let old = held.removeValue(forKey: key) {
                keys[old.agent]?.remove(key)
                if keys[old.agent]?.isEmpty == true { keys[old.agent] = nil }
            }
            guard let new = Self.read(key, message) else { return }
            held[key] = new
            keys[new.agent, default: []].insert(key)
        default: break
        }
    }

    private static func read(_ name: String, _ message: JSONObject) -> Held? {
        guard let key = try? Key(name), let value = message.object("value"), let end = message.integer("expires_at")
        else { return nil }
        let now = Int64(clamping: SystemClock.now().milliseconds)
        switch SwarmKey(key) {
        case .claim(let swarm, let task):
            guard let agent = value.string("holder"), let fence = value.integer("fence") else { return nil }
            var renewal = SyncMessage(Call.Name.taskProgress.rawValue)
            renewal.add("swarm", "\(swarm)")
            renewal.add("task", "\(task)")
            renewal.add("fence", fence)
            return Held(agent: agent, renewal: renewal, expiresAt: end, lease: end - now)
        case .presence(let swarm, let agent, _):
            return Held(
                agent: "\(agent)", renewal: AgentPresence.renewal("\(swarm)"), expiresAt: end,
                lease: end - now)
        default: return nil
        }
    }
}
