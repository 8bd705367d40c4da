import Access
import Loops
import ModelContext
import SyncProtocol
import Synchronization

/// The MCP sessions that there are, by their ids.
final class MCPSessions: MetricsSource {
    /// How many there may be in all, and of one bearer of credentials.
    private static let maximumCount = 8_192
    private static let maximumOfBearer = 1_024
    /// After what time without a request one is over.
    private static let patience = Duration.seconds(24 * 3_600)

    private struct Entry {
        let session: MCPSession
        var lastUse: ContinuousClock.Instant
        /// How many requests are being answered, streams too.
        var uses = 0
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var ofBearer: [[UInt8]: Int] = [:]

        mutating func remove(_ id: String) {
            guard let entry = entries.removeValue(forKey: id) else { return }
            let bearer = entry.session.bearer
            ofBearer[bearer, default: 0] -= 1
            if ofBearer[bearer] == 0 { ofBearer[bearer] = nil }
        }

        /// Removes those that were not used for too long; of a bearer who has too many, the one that was not used for longest.
        mutating func makeRoom(for bearer: [UInt8], _ now: ContinuousClock.Instant) -> [MCPSession] {
            let idle = entries.values.filter { $0.uses == 0 }
            var over = idle.filter { now - $0.lastUse > MCPSessions.patience }
            if ofBearer[bearer, default: 0] >= MCPSessions.maximumOfBearer, over.isEmpty {
                over += idle.filter { $0.session.bearer == bearer }.min { $0.lastUse < $1.lastUse }.map { [$0] } ?? []
            }
            for entry in over { remove(entry.session.id) }
            return over.map(\.session)
        }
    }

    private let connections: InProcessConnections
    private let state = Mutex(State())

    init(_ connections: InProcessConnections) {
        self.connections = connections
    }

    func write(to page: inout PrometheusText) {
        page.gauge(
            "starling_mcp_sessions", "Clients of the Model Context Protocol that have begun and not ended.",
            state.withLock { $0.entries.count })
    }

    /// Begins one.
    ///
    /// - Parameter name: the agent's, by its credentials or a header; nil: one is made up.
    func begin(
        _ beginning: Machine.Beginning, name: String?, tools: Machine.ToolSet, _ grant: Grant
    ) throws(RPCError) -> MCPSession {
        var random = SystemRandomNumberGenerator()
        let id = Self.hex(random.next()) + Self.hex(random.next())
        let client = beginning.client
        let agent = name ?? "\(Requester.name(client ?? ""))-\(id.prefix(8))"
        let session = MCPSession(
            id: id, version: beginning.version,
            requester: Requester(agent: agent, client: client, isNameless: name == nil), tools: tools,
            grant: grant, connections)
        let (isIn, over) = state.withLock { state in
            let over = state.makeRoom(for: grant.bearer, .now)
            guard state.entries.count < Self.maximumCount,
                state.ofBearer[grant.bearer, default: 0] < Self.maximumOfBearer
            else { return (false, over) }
            state.entries[id] = Entry(session: session, lastUse: .now)
            state.ofBearer[grant.bearer, default: 0] += 1
            return (true, over)
        }
        for session in over { Task { await session.end(.client(isLast: false)) } }
        guard isIn else {
            throw RPCError(.internalError, "there are too many MCP sessions; end some, or try again later")
        }
        return session
    }

    private static func hex(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Finds the one with an id, for a request; ``release(_:)`` is to follow.
    ///
    /// - Returns: nil where it is none of that bearer's.
    func take(_ id: String, of grant: Grant) -> MCPSession? {
        state.withLock { state in
            guard let entry = state.entries[id], entry.session.bearer == grant.bearer,
                entry.session.grant.allowsTheSame(as: grant)
            else { return nil }
            state.entries[id]?.uses += 1
            return entry.session
        }
    }

    func release(_ session: MCPSession) {
        state.withLock { state in
            state.entries[session.id]?.uses -= 1
            state.entries[session.id]?.lastUse = .now
        }
    }

    /// Ends one, as its client wishes.
    func end(_ session: MCPSession) async {
        let isLast = state.withLock { state in
            state.remove(session.id)
            return !state.entries.values.contains {
                $0.session.agent == session.agent && $0.session.bearer == session.bearer
            }
        }
        await session.end(.client(isLast: isLast))
    }

    /// Ends all: the server is stopping. Their agents may come back.
    func stop() async {
        let all = state.withLock { state in
            defer { state = State() }
            return state.entries.values.map(\.session)
        }
        for session in all { await session.end(.server) }
    }
}
