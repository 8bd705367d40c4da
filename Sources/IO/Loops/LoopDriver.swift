package import Access
package import NIOCore
import Registers
package import SyncEngine
package import SyncProtocol
import Synchronization

/// Drives the ``Shard`` of one event loop: feeds it what connections, committer and readers bring, and carries its effects
/// out. Everything but ``deliver(_:)`` belongs to the event loop.
package final class LoopDriver: @unchecked Sendable {
    package let eventLoop: any EventLoop
    package let limits: TransportLimits
    package let decoder: ClientMessageDecoder
    package let services: LoopServices
    private let loop: Int
    private(set) var shard: Shard
    /// The connections by slot.
    private(set) var transports: [(any ConnectionTransport)?] = []
    /// Connections that are read from no further until the shard has caught up, or they have taken what they are sent.
    private var paused: Set<Int32> = []
    /// What happened to connections while the shard was busy, to be told to it afterwards.
    private var events: [Event] = []
    private var isRunning = false
    private var ticker: RepeatedTask?
    private var ticks = 0
    private(set) var stalls: UInt64 = 0
    private(set) var pingTimeouts: UInt64 = 0
    private var whenEmpty: EventLoopPromise<Void>?
    private var isStopping = false
    /// Which rules the connections' grants were last checked by.
    private var rulesGeneration: UInt64 = 0

    /// Filled by other threads.
    private let inbox = Mutex<[LoopDelivery]>([])
    private let undelivered = Atomic<Int>(0)

    /// How many bytes wait for this event loop to hand them on.
    package var inboxSize: Int { undelivered.load(ordering: .relaxed) }

    private enum Event {
        case backedUp(ConnectionID)
        case drained(ConnectionID)
        case failed(ConnectionID)
        case disconnected(ConnectionID)
        case rejected([WriteRequest])
        /// Bytes came while the shard was busy.
        case readable(ConnectionID)
        /// A handshake was done while the server is stopping.
        case late(ConnectionID)
    }

    package init(
        eventLoop: any EventLoop, loop: Int, shard: consuming Shard, limits: TransportLimits, services: LoopServices
    ) {
        self.eventLoop = eventLoop
        self.loop = loop
        self.shard = shard
        self.limits = limits
        decoder = ClientMessageDecoder(maximumValueSize: limits.maximumValueSize)
        self.services = services
    }

    private var turn: Turn { Turn(head: services.head(), now: services.now()) }

    // MARK: From other threads

    /// Hands something over. Deliveries are taken in the order they come; a burst of them wakes the event loop once.
    package func deliver(_ delivery: LoopDelivery) {
        let wasEmpty = inbox.withLock { inbox in
            inbox.append(delivery)
            return inbox.count == 1
        }
        undelivered.add(delivery.size, ordering: .relaxed)
        if wasEmpty { eventLoop.execute { self.takeDeliveries() } }
    }

    private func takeDeliveries() {
        let deliveries = inbox.withLock { inbox in
            let taken = inbox
            inbox = []
            return taken
        }
        let now = services.now()
        for delivery in deliveries {
            undelivered.subtract(delivery.size, ordering: .relaxed)
            let turn = Turn(head: services.head(), now: now)
            switch delivery {
            case .committed(let commit): shard.changesCommitted(commit, turn)
            case .page(let page): shard.pageRead(page, turn)
            case .lookups(let result): shard.lookupsRead(result, turn)
            case .answered(let answer): shard.serviceAnswered(answer, turn)
            }
            run()
        }
    }

    // MARK: From connections

    /// There is a new connection.
    ///
    /// - Returns: what ``ConnectionTransport/id`` is from now on.
    package func connect(_ transport: any ConnectionTransport, grant: Grant) -> ConnectionID {
        let id = shard.connectionOpened(agent: Agent(random: services.random()), grant: grant, now: services.now())
        while transports.count <= Int(id.slot) { transports.append(nil) }
        transports[Int(id.slot)] = transport
        // It was on its way when the others were told.
        if isStopping { events.append(.late(id)) }
        return id
    }

    package func mayCheckCredentials(_ hello: ClientMessage.Hello, size: Int, of id: ConnectionID) -> Bool {
        shard.mayCheckCredentials(hello, size: size, of: id, turn)
    }

    package func receive(_ incoming: Incoming, size: Int = 0, from id: ConnectionID) {
        shard.messageReceived(incoming, size: size, from: id, turn)
    }

    /// Whether a connection has to show credentials before anything else.
    package func isStranger(_ id: ConnectionID) -> Bool { shard.isStranger(id) }

    /// Asks whether a connection may be read from now.
    ///
    /// - Returns: false: not now; ``ConnectionTransport/resume()`` will say when.
    package func requestRead(_ id: ConnectionID, backlog: Int) -> Bool {
        if backlog <= limits.maximumBacklog, !shard.isSaturated(id) { return true }
        paused.insert(id.slot)
        return false
    }

    /// A connection is gone. That can happen in the middle of a fan-out, by a write that fails.
    package func disconnect(_ id: ConnectionID) {
        events.append(.disconnected(id))
        run()
    }

    /// A connection is given up: nothing that it has sent takes effect any more, and what it holds ends, before its channel
    /// is closed.
    package func abandon(_ id: ConnectionID) {
        events.append(.disconnected(id))
    }

    private func forget(_ id: ConnectionID) {
        // It may have been given up before, and its slot be another's by now.
        guard transports[Int(id.slot)]?.id == id else { return }
        shard.connectionClosed(id)
        paused.remove(id.slot)
        transports[Int(id.slot)] = nil
        if let whenEmpty, transports.allSatisfy({ $0 == nil }) {
            whenEmpty.succeed()
            self.whenEmpty = nil
        }
    }

    package func drained(_ id: ConnectionID) {
        events.append(.drained(id))
        run()
    }

    /// Bytes have come for a connection. A write that fails makes the channel read first, in the middle of a fan-out:
    /// then they wait until that is over.
    package func readable(_ transport: any ConnectionTransport) {
        if isRunning {
            events.append(.readable(transport.id))
        } else {
            transport.readMessages()
        }
    }

    /// There is no room for what connections hold of messages that are not whole: who holds the most of it has to go.
    package func makeRoom(_ party: InboundMemory.Party) {
        let holders = transports.lazy.compactMap { $0 }.map { (transport: $0, bytes: $0.heldBytes(of: party)) }
        guard let largest = holders.max(by: { $0.bytes < $1.bytes }), largest.bytes > 0 else { return }
        services.memory.noteRefusal()
        largest.transport.giveUp(
            .overloaded, "too much is held of messages that are not whole; send this one again, or a smaller one")
        largest.transport.stopReading()
    }

    /// Carries out what the shard has decided, until there is nothing left to do. Called after each round of inputs.
    package func run() {
        // An effect can end in a call of this; the outer one will see to it.
        guard !isRunning else { return }
        isRunning = true
        defer { isRunning = false }
        while true {
            shard.flush(into: self)
            if !events.isEmpty {
                handleEvents()
            } else if !resume() {
                return
            }
        }
    }

    private func handleEvents() {
        let due = events
        events = []
        for event in due {
            switch event {
            case .backedUp(let id): backedUp(id)
            case .drained(let id): shard.socketDrained(id, turn)
            case .failed(let id): transports[Int(id.slot)]?.abort()
            case .disconnected(let id): forget(id)
            case .readable(let id): transports[Int(id.slot)]?.readMessages()
            case .late(let id): transports[Int(id.slot)]?.shutDown()
            case .rejected(let writes): shard.writesRejected(writes, turn)
            }
        }
    }

    private func backedUp(_ id: ConnectionID) {
        guard let transport = transports[Int(id.slot)], transport.id == id else { return }
        shard.socketBackedUp(id, dropped: transport.drop())
        if transport.backlog == 0 { events.append(.drained(id)) }
    }

    /// Reads on from connections that may be read from again.
    ///
    /// - Returns: whether any was.
    private func resume() -> Bool {
        guard !paused.isEmpty else { return false }
        var any = false
        for slot in paused {
            guard let transport = transports[Int(slot)] else {
                paused.remove(slot)
                continue
            }
            guard transport.backlog <= limits.maximumBacklog, !shard.isSaturated(transport.id) else { continue }
            paused.remove(slot)
            any = true
            transport.resume()
        }
        return any
    }

    // MARK: Life

    /// Starts the timer that pings the silent and tells cursors.
    package func start() {
        ticker = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [weak self] _ in
            self?.tick()
        }
    }

    private func tick() {
        ticks += 1
        let now = NIODeadline.now()
        for transport in transports { transport.map { check($0, at: now) } }
        shard.keepEphemerals(now: services.now())
        endAccess()
        if ticks % 5 == 0 { shard.noticeCursors() }
        run()
    }

    /// The rules have changed: whoever has a grant that is no longer good is told at once, not at the next tick.
    package func rulesChanged() {
        eventLoop.execute { [self] in
            endAccess()
            run()
        }
    }

    private func endAccess() {
        let authority = services.authority
        let generation = authority.generation
        let isNew = generation != rulesGeneration
        rulesGeneration = generation
        shard.endAccess(now: services.now(), problem: isNew ? { authority.problem(with: $0) } : nil)
    }

    private func check(_ transport: any ConnectionTransport, at now: NIODeadline) {
        switch transport.check(at: now) {
        case .alive: break
        case .stalled:
            stalls += 1
            transport.giveUp(.stalled, "nothing was read for \(limits.stallTimeout.nanoseconds / 1_000_000_000) s")
        case .unresponsive:
            pingTimeouts += 1
            transport.abort()
        }
    }

    /// Says goodbye to every connection, once what it sent is answered.
    ///
    /// - Returns: a future for the time when all are gone.
    package func shutDown() -> EventLoopFuture<Void> {
        eventLoop.flatSubmit { [self] in
            ticker?.cancel()
            isStopping = true
            let promise = eventLoop.makePromise(of: Void.self)
            if transports.allSatisfy({ $0 == nil }) {
                promise.succeed()
            } else {
                whenEmpty = promise
                for transport in transports { transport?.shutDown() }
                // Each connection ends by its own timeouts; one that does not must not keep the server from stopping.
                eventLoop.assumeIsolated().scheduleTask(
                    in: limits.drainTimeout + limits.lingerTimeout + .seconds(1)
                ) { [self] in
                    for transport in transports { transport?.abort() }
                    whenEmpty?.succeed()
                    whenEmpty = nil
                }
            }
            return promise.futureResult
        }
    }
}

extension LoopDriver: ShardOutput {
    package func send(_ frames: ByteBuffer, to slot: Int32) {
        guard let transport = connected(slot) else { return }
        transport.send(frames)
        check(transport)
    }

    package func deliver(_ delivery: Delivery) {
        let except = delivery.except
        for slot in delivery.slots where except.isEmpty || !except.contains(slot) {
            guard let transport = connected(slot) else { continue }
            transport.send(delivery)
            check(transport)
        }
    }

    package func close(_ slot: Int32) {
        connected(slot)?.finish()
    }

    package func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {
        connected(slot)?.giveUp(code, reason)
    }

    package func submit(_ writes: [WriteRequest]) {
        if services.submitWrites(writes) { return }
        // Not all of them fit. Who has sent little is not refused for who has sent much.
        var start = 0
        while start < writes.count {
            let connection = writes[start].origin.connection
            let end = writes[start...].firstIndex { $0.origin.connection != connection } ?? writes.count
            let part = Array(writes[start..<end])
            if !services.submitWrites(part) { events.append(.rejected(part)) }
            start = end
        }
    }

    package func submit(_ job: ReadJob) {
        services.submitRead(job, loop)
    }

    package func submit(_ request: ServiceRequest) {
        services.serve(request, loop)
    }

    /// Up to which commit a connection has been handed everything that it is subscribed to; nil: it is catching up.
    func position(of id: ConnectionID) -> Revision? { shard.position(of: id) }

    /// The connection in a slot that the shard has named: it knows of the end of one before its slot is left.
    private func connected(_ slot: Int32) -> (any ConnectionTransport)? {
        assert(transports[Int(slot)] != nil, "the shard sends to a connection that is gone")
        return transports[Int(slot)]
    }

    /// Notes, for after the fan-out, that a connection is broken or has too much to take.
    private func check(_ transport: any ConnectionTransport) {
        if transport.hasFailed {
            events.append(.failed(transport.id))
        } else if transport.backlog > limits.maximumBacklog {
            events.append(.backedUp(transport.id))
        }
    }
}
