import Access
import Agents
import Loops
import ModelContext
import NIOCore
import Registers
import SyncProtocol

/// What a client that said `initialize` has until it says that it is done: a connection of a shard, the resources that it is told of, and what of that is
/// still to be told.
actor MCPSession {
    typealias Event = (id: UInt64, message: [UInt8])

    /// How many notifications are kept for a client that lost its stream.
    private static let maximumKept = 256
    /// How many tasks are remembered that were handed out.
    private static let maximumHandedOut = 256
    /// How long the shard may take to answer a subscription.
    private static let patience = TimeAmount.seconds(10)

    nonisolated let id: String
    nonisolated let version: ProtocolVersion
    nonisolated let requester: Requester
    nonisolated let tools: Machine.ToolSet
    /// What it was made with.
    nonisolated let grant: Grant

    private let connections: InProcessConnections
    private var connection: InProcessConnection?
    private var opening: Task<Result<InProcessConnection, Problem>, Never>?
    private var subscriptions = ResourceSubscriptions()
    /// Who waits to be told what became of a subscription.
    private var asked: [String: Eventual<ResourceSubscriptions.Answer>] = [:]
    /// What gives back the tasks that were handed out in it; those that are done with it does nothing to.
    private var handedOut: [SyncMessage] = []
    /// The calls that are under way, and what ends them.
    private var calls: [RPCID: @Sendable () -> Void] = [:]
    /// What was told last, in its order.
    private var kept: [Event] = []
    private var lastEvent: UInt64 = 0
    /// Up to where a client has lost nothing.
    private var firstKept: UInt64 = 1
    /// The stream of notifications that is open: the last one that was asked for.
    private var stream: UInt64 = 0
    private var wakeup: Eventual<Void>?
    private var isEnded = false

    init(
        id: String, version: ProtocolVersion, requester: Requester, tools: Machine.ToolSet, grant: Grant,
        _ connections: InProcessConnections
    ) {
        self.id = id
        self.version = version
        self.requester = requester
        self.tools = tools
        self.grant = grant
        self.connections = connections
    }

    /// The name that is written under, where a call names no other.
    nonisolated var agent: String? { requester.agent }

    nonisolated var bearer: [UInt8] { grant.bearer }

    // MARK: The connection

    /// Asks something for its client.
    func answers(
        to messages: [SyncMessage], _ caller: Caller, on eventLoop: any EventLoop
    ) async throws(Problem) -> [JSONObject] {
        let connection = try await connection(caller, on: eventLoop)
        return try await HTTPSession.answers(to: messages, of: connection)
    }

    /// Its connection; where there is none, or it has ended, another one, with the same subscriptions.
    private func connection(_ caller: Caller, on eventLoop: any EventLoop) async throws(Problem) -> InProcessConnection
    {
        if let connection { return connection }
        let opening =
            opening
            ?? Task { [connections] in
                do throws(Problem) {
                    return .success(try await connections.open(for: caller, on: eventLoop, isTaken: true))
                } catch {
                    return .failure(error)
                }
            }
        self.opening = opening
        let result = await opening.value
        guard self.opening == opening else {
            // Somebody else who waited was the first to go on.
            guard let connection else { throw Problem(.shuttingDown, "the connection is gone") }
            return connection
        }
        self.opening = nil
        let connection = try result.get()
        guard !isEnded else {
            connection.close()
            throw Problem(.shuttingDown, "the MCP session is over")
        }
        self.connection = connection
        for message in subscriptions.renewed() { connection.send(message) }
        Task { await take(from: connection, on: eventLoop) }
        return connection
    }

    /// Takes what comes until the connection ends.
    private func take(from connection: InProcessConnection, on eventLoop: any EventLoop) async {
        while true {
            switch await connection.next(within: .minutes(10)) {
            case .messages(let messages): take(messages)
            case .silence: continue
            case .end:
                self.connection = nil
                for waiting in asked.values {
                    waiting.give(.refused(id: "", Refusal(.overloaded, "the connection ended; ask again")))
                }
                asked = [:]
                // The client comes again, and shows its credentials.
                endStream()
                return
            }
        }
    }

    private func take(_ messages: [ByteBuffer]) {
        let now = SystemClock.now().milliseconds
        for message in messages {
            guard let object = try? JSONObject(Array(message.readableBytesView)) else { continue }
            switch subscriptions.take(object, now: now) {
            case .honoured(let id):
                asked.removeValue(forKey: id)?.give(.honoured(id: id))
            case .refused(let id, let refusal): asked.removeValue(forKey: id)?.give(.refused(id: id, refusal))
            case nil: break
            }
        }
        if subscriptions.hasUpdates { wakeup?.give(()) }
    }

    // MARK: Subscriptions

    /// Tells of a resource from now on.
    func subscribe(_ uri: String, _ caller: Caller, on eventLoop: any EventLoop) async throws(ToolFailure) {
        let connection: InProcessConnection
        do throws(Problem) {
            connection = try await self.connection(caller, on: eventLoop)
        } catch {
            throw ToolFailure(error)
        }
        guard let (id, message) = try subscriptions.add(uri) else { return }
        let answer = Eventual<ResourceSubscriptions.Answer>()
        asked[id] = answer
        connection.send(message)
        switch await answer.value(within: Self.patience, on: eventLoop) {
        case .honoured: return
        case .refused(_, let refusal): throw ToolFailure(refusal)
        case nil: throw ToolFailure(.overloaded, "the subscription was not answered in time; ask again")
        }
    }

    func unsubscribe(_ uri: String) {
        guard let message = subscriptions.remove(uri) else { return }
        connection?.send(message)
    }

    // MARK: Notifications

    /// Begins a stream of notifications, and ends the one there was.
    ///
    /// - Parameter lastID: of the last one that the client has got; nil: it has lost none.
    /// - Returns: its number, and what is told anew.
    func openStream(
        after lastID: UInt64?, _ caller: Caller, on eventLoop: any EventLoop
    ) async throws(Problem) -> (stream: UInt64, missed: [Event]) {
        _ = try await connection(caller, on: eventLoop)
        endStream()
        // Whether the list of resources has changed everybody is told who listens.
        for message in subscriptions.addList() { connection?.send(message) }
        guard let lastID else { return (stream, []) }
        guard lastID >= firstKept - 1, lastID <= lastEvent else {
            subscriptions.noteAll()
            return (stream, [])
        }
        return (stream, kept.filter { $0.id > lastID })
    }

    private func endStream() {
        stream += 1
        wakeup?.give(())
        wakeup = nil
    }

    /// Waits for notifications.
    ///
    /// - Returns: none where there were none for so long; nil: the stream is over.
    func notifications(
        of stream: UInt64, within patience: TimeAmount, on eventLoop: any EventLoop
    ) async -> [Event]? {
        guard stream == self.stream, !isEnded, connection != nil else { return nil }
        if !subscriptions.hasUpdates {
            let wakeup = Eventual<Void>()
            self.wakeup = wakeup
            await wakeup.value(within: patience, on: eventLoop)
            guard stream == self.stream, !isEnded, connection != nil else { return nil }
            self.wakeup = nil
        }
        let events = subscriptions.notifications(nil).map { message in
            lastEvent += 1
            return Event(lastEvent, message)
        }
        kept += events
        if kept.count > Self.maximumKept { kept.removeFirst(kept.count - Self.maximumKept) }
        firstKept = kept.first?.id ?? lastEvent + 1
        return events
    }

    // MARK: Calls

    /// Notes a call that is under way.
    ///
    /// - Returns: false where one is by that id already.
    func began(_ id: RPCID, cancel: @escaping @Sendable () -> Void) -> Bool {
        guard calls[id] == nil else { return false }
        calls[id] = cancel
        return true
    }

    /// Notes what is to go back when it ends.
    func handedOut(_ giveBack: SyncMessage, _ caller: Caller, on eventLoop: any EventLoop) async {
        handedOut.append(giveBack)
        if handedOut.count > Self.maximumHandedOut { handedOut.removeFirst() }
        // What is given back at the end goes by it.
        _ = try? await connection(caller, on: eventLoop)
    }

    func ended(_ id: RPCID) { calls[id] = nil }

    /// Nobody waits for a call any more.
    func cancel(_ id: RPCID) { calls.removeValue(forKey: id)?() }

    /// How it ends.
    enum End: Sendable {
        /// Its client is gone, and with it what it held. `isLast`: nobody else is there by that name.
        case client(isLast: Bool)
        /// The server stops: its client may come back.
        case server
    }

    func end(_ end: End) async {
        guard !isEnded else { return }
        isEnded = true
        // Where the server stops, its shards end what waits, and that is answered.
        if case .client = end { for cancel in calls.values { cancel() } }
        calls = [:]
        endStream()
        guard let connection else { return }
        if case .client(let isLast) = end {
            _ = try? await connection.ask(handedOut)
            if isLast, let agent { await Self.leave(agent, connection) }
        }
        connection.close()
        self.connection = nil
    }

    /// Says that an agent is gone: what it holds goes back.
    private static func leave(_ agent: String, _ connection: InProcessConnection) async {
        guard let pattern = AgentPresence.pattern(of: agent) else { return }
        var list = SyncMessage("list")
        list.add("pattern", pattern)
        list.add("limit", 1_000)
        guard let answer = try? await HTTPSession.ask(list, of: connection) else { return }
        let swarms = (answer.array("registers") ?? []).compactMap { register -> String? in
            guard let key = (try? JSONObject(register))?.string("key").flatMap({ try? Key($0) }),
                case .presence(let swarm, _, _)? = SwarmKey(key)
            else { return nil }
            return "\(swarm)"
        }
        _ = try? await connection.ask(swarms.map { AgentPresence.renewal($0, seconds: 1) })
    }
}
