package import Access
import NIOCore
package import Registers
package import SyncProtocol

/// One event loop's share of the connections: their subscriptions, the order of their messages, and what they are sent.
///
/// A state machine without I/O. Its inputs are its methods, named for what has happened: `connectionOpened`, `messageReceived`,
/// `changesCommitted`, `pageRead`, `socketBackedUp`. What is to be done about it is collected, and handed to a ``ShardOutput`` by
/// ``flush(into:)``, which the caller calls after each round of inputs.
///
/// It wires machines that know nothing of each other: the ``MessageOrder`` of each connection, its ``Subscription``s and whose turn it is to have a
/// page read (``PageTurns``), what ends with connections (``EphemeralKeys``), and who gets what (``Fanout``).
///
/// Not copyable: a copy would count its dozens of arrays up and down.
package struct Shard: ~Copyable {
    package struct Configuration: Sendable {
        /// The index of the event loop.
        package var loop: Int
        package var welcome: Welcome
        package var framing: Framing
        /// How many messages of one connection, and how many bytes of writes, may be under way or waiting before it is to be read from
        /// no further.
        var order = MessageOrder.Limits(messages: 1_024, cost: 4 << 20)
        /// How many pages may be asked for at a time (``PageTurns``).
        package var maximumPages = 64
        /// How much of what was committed last is kept for those who come back, in bytes.
        package var recentCapacity = 4 << 20
        /// How much a subscription that catches up is sent at once from there, in bytes.
        package var maximumFromMemory = 256 << 10
        /// How many ephemeral keys one connection may have.
        package var maximumEphemerals = 10_000
        /// How fast a connection may send; nil: as it likes.
        package var rate: RateLimit.Limits?
        /// What is wrong with a grant by now: asked before credentials that had to wait for their turn are taken over.
        package var problem: @Sendable (Grant) -> AccessRefusal? = { _ in nil }
        /// What calls want to be allowed, by their names and the caller's.
        package var rights: @Sendable (Call, Agent) throws(TextError) -> CallRights = { _, _ in CallRights() }
        /// How long a connection may be without the credentials that the server wants, in milliseconds.
        package var authenticationTimeout: UInt64 = 10_000
        /// How long a connection without subscriptions may send nothing, in milliseconds; nil: for ever.
        package var idleTimeout: UInt64?

        package init(loop: Int, welcome: Welcome, framing: @escaping Framing) {
            self.loop = loop
            self.welcome = welcome
            self.framing = framing
        }
    }

    let configuration: Configuration
    let epoch: Epoch
    /// The greatest revision of a tombstone that the database has forgotten.
    var collectedRevision: Revision
    /// The revision up to which changes have been delivered to live subscriptions here.
    package internal(set) var delivered: Revision

    var connections = SlotMap<ConnectionState>()
    var subscriptions = SlotMap<Subscription>()
    private var lastGeneration: UInt32 = 0
    /// Connections that are the server's own: nobody else counts them.
    var own: Set<ConnectionID> = []
    var fanout = Fanout()
    var ephemerals = EphemeralKeys()
    var recent: RecentCommits
    var pages: PageTurns
    var heldPages = HeldResults<PageResult>()
    var heldLookups = HeldResults<LookupResult>()
    package internal(set) var counters = ShardCounters()

    // What is to be done at the next flush.
    private var dirty: [Int32] = []
    var deliveries: [Delivery] = []
    var writes: [WriteRequest] = []
    var jobs: [ReadJob] = []
    var services: [ServiceRequest] = []
    var closing: [ConnectionID] = []
    var expulsions: [Expulsion] = []

    package init(configuration: Configuration, state: StoreState) {
        self.configuration = configuration
        epoch = state.epoch
        collectedRevision = state.collectedRevision
        delivered = state.head
        recent = RecentCommits(head: state.head, capacity: configuration.recentCapacity)
        pages = PageTurns(maximum: configuration.maximumPages)
    }

    /// A number that tells what is in a slot from what was there before.
    mutating func makeGeneration() -> UInt32 {
        lastGeneration &+= 1
        return lastGeneration
    }

    // MARK: Connections

    /// A connection was opened: it is welcomed.
    ///
    /// - Parameters:
    ///   - agent: its name until it gives another, where `grant` does not say.
    ///   - grant: what it may do.
    ///   - now: the wall clock, in milliseconds.
    package mutating func connectionOpened(agent: Agent, grant: Grant = .unrestricted, now: WallTime) -> ConnectionID {
        let generation = makeGeneration()
        // What follows from one message is not counted as more of them, and what the server keeps for itself as none.
        let rate = grant.isOfServer ? nil : configuration.rate
        let slot = connections.insert { slot in
            ConnectionState(
                id: ConnectionID(slot: slot, generation: generation), agent: agent, grant: grant, rate: rate, now: now)
        }
        let id = ConnectionID(slot: slot, generation: generation)
        if grant.isOfServer { own.insert(id) } else { counters.connections += 1 }
        welcome(id, requestID: nil, now: now)
        return id
    }

    /// A connection is gone. Answers that are still under way to it find nobody.
    package mutating func connectionClosed(_ id: ConnectionID) {
        guard let state = connection(id) else { return }
        for subscription in state.subscriptions.values { end(subscription) }
        if !state.waitingCalls.isEmpty { withdrawCalls(nil, isAnswered: false, of: id) }
        ask(ephemerals.disconnected(id))
        state.life?.end()
        connections.remove(id.slot)
        if own.remove(id) == nil { counters.connections -= 1 }
    }

    /// Whether a connection has to show credentials before anything else.
    package func isStranger(_ id: ConnectionID) -> Bool { connection(id)?.grant.isNothing == true }

    /// Whether so much of a connection's is under way that it should be read from no further for now.
    package func isSaturated(_ id: ConnectionID) -> Bool {
        guard let state = connection(id) else { return false }
        return state.order.isSaturated(configuration.order)
    }

    /// The connection that an id was given to, while it is there.
    func connection(_ id: ConnectionID) -> ConnectionState? {
        guard let state = connections.find(id.slot), state.id == id else { return nil }
        return state
    }

    /// The subscription that an id was given to, while it is there.
    func subscription(_ id: SubscriptionID) -> Subscription? {
        guard let subscription = subscriptions.find(id.slot), subscription.generation == id.generation else {
            return nil
        }
        return subscription
    }

    // MARK: Output

    /// Appends a message to what a connection is sent.
    mutating func reply(to id: ConnectionID, _ body: (inout ByteBuffer) -> Void) {
        guard let state = connection(id) else { return }
        markDirty(state)
        configuration.framing(&state.replies, body)
    }

    /// Appends encoded frames, of which there are some.
    mutating func replyFrames(to id: ConnectionID, _ frames: ByteBuffer) {
        guard let state = connection(id) else { return }
        markDirty(state)
        if state.replies.readableBytes == 0 {
            state.replies = frames
        } else {
            state.replies.writeImmutableBuffer(frames)
        }
    }

    /// Something is about to be appended to what a connection is sent.
    mutating func markDirty(_ state: ConnectionState) {
        if !state.hasOutput { dirty.append(state.id.slot) }
    }

    /// Has the committer asked for something that no client has asked for.
    mutating func ask(_ requests: [EphemeralKeys.Request]) {
        for request in requests {
            writes.append(
                WriteRequest(
                    action: request.action, agent: Agent(random: 0),
                    origin: Origin(loop: configuration.loop, connection: request.connection)))
        }
    }

    /// Hands everything that is to be done to `output`: answers to writes first, then the fan-out, then other answers.
    package mutating func flush(into output: some ShardOutput) {
        let slots = dirty
        dirty.removeAll(keepingCapacity: true)
        for slot in slots {
            guard let state = connections.find(slot), state.acknowledgements.readableBytes > 0 else { continue }
            let frames = state.acknowledgements
            state.acknowledgements = ByteBuffer()
            output.send(frames, to: slot)
        }
        if !deliveries.isEmpty {
            let due = deliveries
            deliveries.removeAll(keepingCapacity: true)
            for delivery in due { output.deliver(delivery) }
        }
        for slot in slots {
            guard let state = connections.find(slot), state.replies.readableBytes > 0 else { continue }
            let frames = state.replies
            state.replies = ByteBuffer()
            output.send(frames, to: slot)
        }
        if !writes.isEmpty {
            let due = writes
            writes = []
            output.submit(due)
        }
        if !jobs.isEmpty {
            let due = jobs
            jobs = []
            for job in due { output.submit(job) }
        }
        if !services.isEmpty {
            let due = services
            services = []
            for request in due { output.submit(request) }
        }
        if !closing.isEmpty {
            let due = closing
            closing = []
            for id in due where connection(id) != nil { output.close(id.slot) }
        }
        if !expulsions.isEmpty {
            let due = expulsions
            expulsions = []
            for one in due where connection(one.connection) != nil {
                output.expel(one.connection.slot, one.code, one.reason)
            }
        }
    }
}
