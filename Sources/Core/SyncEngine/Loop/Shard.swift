package import Access
import NIOCore
package import Registers
package import SyncProtocol

/// One event loop's share of the connections: their subscriptions, the order of their messages, and what they are sent.
///
/// A state machine without I/O. Its inputs are its methods: a connection comes or goes, a message is received, a batch
/// was committed, something was read, a socket backs up or drains. What is to be done about it is collected, and handed
/// to a ``ShardOutput`` by ``flush(into:)``, which the caller calls after each round of inputs.
///
/// Not copyable: a copy would count its dozens of arrays up and down.
package struct Shard: ~Copyable {
    package struct Configuration: Sendable {
        /// The index of the event loop.
        package var loop: Int
        package var welcome: Welcome
        package var framing: Framing
        /// How many messages of one connection may be under way or waiting before it is to be read from no further.
        package var maximumInFlight = 1_024
        /// How many bytes of writes of one connection may be under way, likewise.
        package var maximumInFlightCost = 4 << 20
        /// How many bytes of answers to one batch show the values of the registers that won.
        package var maximumAcknowledgements = 2 << 20
        /// How many pages may be asked for at a time. Batches are kept for as long as a page is under way: when thousands
        /// catch up at once, they take turns, so that what is kept stays small.
        package var maximumPages = 64
        /// How much of what was committed last is kept for those who come back, in bytes.
        package var recentCapacity = 4 << 20
        /// How much a subscription that catches up is sent at once from there, in bytes.
        package var maximumFromMemory = 256 << 10
        /// How many registers of one connection may end with it.
        package var maximumHolds = 10_000
        /// How fast a connection may send; nil: as it likes.
        package var rate: RateLimit.Limits?
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
    var collectedRevision: UInt64
    /// The revision up to which batches have been delivered to live subscriptions here.
    package internal(set) var delivered: UInt64

    var connections: [ConnectionState?] = []
    var freeConnections: [Int32] = []
    var nextGeneration: UInt32 = 0
    var subscriptions: [Subscription?] = []
    var freeSubscriptions: [Int32] = []
    var index = PatternIndex()
    var groups = FanoutGroups()
    /// How many changes have matched each pattern, and how many subscriptions are behind by being slow.
    var matched: [UInt64] = []
    /// The patterns that the change being fanned out matches; kept for its memory.
    var found: [PatternID] = []
    var demotedCount = 0
    var recent: RecentBatches
    /// Pages read at a head that has not been delivered here yet.
    var heldPages: [PageResult] = []
    /// How many pages are asked for and not dealt with, and the connections that wait for their turn.
    var pagesInFlight = 0
    var pageQueue = Queue<ConnectionID>()
    /// Lookups likewise.
    var heldLookups: [LookupResult] = []
    /// The slots of connections that may have holds.
    var holders: Set<Int32> = []
    var pendingEnds: [Hold: PendingEnd] = [:]
    package internal(set) var counters = ShardCounters()

    // What is to be done at the next flush.
    var dirty: [Int32] = []
    var deliveries: [Delivery] = []
    var writes: [WriteRequest] = []
    var jobs: [ReadJob] = []
    var closing: [ConnectionID] = []
    var expulsions: [Expulsion] = []

    package init(configuration: Configuration, state: StoreState) {
        self.configuration = configuration
        epoch = state.epoch
        collectedRevision = state.collectedRevision
        delivered = state.head
        recent = RecentBatches(head: state.head, capacity: configuration.recentCapacity)
    }

    // MARK: Connections

    /// A connection was opened: it is welcomed.
    ///
    /// - Parameters:
    ///   - agent: its name until it gives another, where `grant` does not say.
    ///   - grant: what it may do.
    ///   - now: the wall clock, in milliseconds.
    package mutating func connect(agent: Agent, grant: Grant = .unrestricted, now: UInt64) -> ConnectionID {
        let slot: Int32
        if let reused = freeConnections.popLast() {
            slot = reused
        } else {
            slot = Int32(connections.count)
            connections.append(nil)
        }
        nextGeneration &+= 1
        let id = ConnectionID(slot: slot, generation: nextGeneration)
        connections[Int(slot)] = ConnectionState(
            id: id, agent: agent, grant: grant, rate: configuration.rate, now: now)
        counters.connections += 1
        welcome(id, requestID: nil, now: now)
        return id
    }

    /// A connection is gone. Answers that are still under way to it find nobody.
    package mutating func disconnect(_ id: ConnectionID) {
        guard let state = connection(id) else { return }
        for subscription in state.subscriptions.values { end(subscription) }
        endHolds(of: state)
        connections[Int(id.slot)] = nil
        freeConnections.append(id.slot)
        counters.connections -= 1
    }

    /// Whether a connection has to show credentials before anything else.
    package func isStranger(_ id: ConnectionID) -> Bool { connection(id)?.grant.isNothing == true }

    /// Whether so much of a connection's is under way that it should be read from no further for now.
    package func isSaturated(_ id: ConnectionID) -> Bool {
        guard let state = connection(id) else { return false }
        return state.hasWaitingCredentials
            || state.writesInFlight + state.waiting.count >= configuration.maximumInFlight
            || state.writeCostInFlight + state.waitingCost >= configuration.maximumInFlightCost
    }

    func connection(_ id: ConnectionID) -> ConnectionState? {
        guard Int(id.slot) < connections.count, let state = connections[Int(id.slot)], state.id == id else {
            return nil
        }
        return state
    }

    /// Whether `id` is connected; asked before a mutation in place.
    func isConnected(_ id: ConnectionID) -> Bool {
        Int(id.slot) < connections.count && connections[Int(id.slot)]?.id == id
    }

    // MARK: Output

    /// Appends a message to what a connection is sent.
    mutating func reply(to id: ConnectionID, _ body: (inout ByteBuffer) -> Void) {
        guard let state = connection(id) else { return }
        markDirty(id.slot)
        configuration.framing(&state.replies, body)
    }

    /// Appends encoded frames.
    mutating func replyFrames(to id: ConnectionID, _ frames: ByteBuffer) {
        guard let state = connection(id) else { return }
        markDirty(id.slot)
        if state.replies.readableBytes == 0 {
            state.replies = frames
        } else {
            state.replies.writeImmutableBuffer(frames)
        }
    }

    mutating func markDirty(_ slot: Int32) {
        guard let state = connections[Int(slot)], !state.isDirty else { return }
        state.isDirty = true
        dirty.append(slot)
    }

    /// Hands everything that is to be done to `output`: answers to writes first, then the fan-out, then other answers.
    package mutating func flush(into output: some ShardOutput) {
        let slots = dirty
        dirty.removeAll(keepingCapacity: true)
        for slot in slots {
            guard let state = connections[Int(slot)], state.acknowledgements.readableBytes > 0 else { continue }
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
            guard let state = connections[Int(slot)] else { continue }
            state.isDirty = false
            guard state.replies.readableBytes > 0 else { continue }
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
        if !closing.isEmpty {
            let due = closing
            closing = []
            for id in due where isConnected(id) { output.close(id.slot) }
        }
        if !expulsions.isEmpty {
            let due = expulsions
            expulsions = []
            for one in due where isConnected(one.connection) {
                output.expel(one.connection.slot, one.code, one.reason)
            }
        }
    }
}
