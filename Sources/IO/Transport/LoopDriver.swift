import Access
package import NIOCore
import Registers
package import SyncEngine
package import SyncProtocol
import Synchronization
import WebSocket

/// Drives the ``Shard`` of one event loop: feeds it what sockets, committer and readers bring, and carries its effects
/// out. Everything but ``deliver(_:)`` belongs to the event loop.
package final class LoopDriver: @unchecked Sendable {
    package let eventLoop: any EventLoop
    package let limits: TransportLimits
    let decoder: ClientMessageDecoder
    let turnstile: Turnstile
    /// Connections that have had their turn.
    private(set) lazy var turns = TurnQueue(eventLoop: eventLoop) { [unowned self] in run() }
    let services: LoopServices
    private let loop: Int
    private(set) var shard: Shard
    /// The connections by slot.
    private(set) var handlers: [ConnectionHandler?] = []
    /// Connections that are read from no further until the shard or the socket has caught up.
    private var paused: Set<Int32> = []
    /// What happened to sockets while the shard was busy, to be told to it afterwards.
    private var events: [SocketEvent] = []
    private var isRunning = false
    private var willRun = false
    private var ticker: RepeatedTask?
    private var ticks = 0
    private(set) var stalls: UInt64 = 0
    private(set) var pingTimeouts: UInt64 = 0
    /// For all connections whose messages are compressed each by itself.
    let inflater = Inflater(forgets: true, windowBits: 15)
    let deflater = FrameDeflater(forgets: true, windowBits: DeflateParameters.sharedWindowBits)
    private var compressedChanges = CompressedChanges()
    private var whenEmpty: EventLoopPromise<Void>?
    private var isStopping = false
    /// Which rules the connections' grants were last checked by.
    private var rulesGeneration: UInt64 = 0

    /// Filled by other threads.
    private let inbox = Mutex<[LoopDelivery]>([])
    private let undelivered = Atomic<Int>(0)

    /// How many bytes wait for this event loop to hand them on.
    package var inboxSize: Int { undelivered.load(ordering: .relaxed) }

    private enum SocketEvent {
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
        turnstile = Turnstile(eventLoop: eventLoop)
        decoder = ClientMessageDecoder(maximumValueSize: limits.maximumValueSize)
        self.services = services
    }

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
            let head = services.head()
            switch delivery {
            case .batch(let batch): shard.receive(batch, head: head, now: now)
            case .page(let page): shard.read(page, head: head, now: now)
            case .lookups(let result): shard.looked(up: result, head: head, now: now)
            }
            run()
        }
    }

    // MARK: From connections

    /// A handshake is done.
    func connect(_ handler: ConnectionHandler, grant: Grant) -> ConnectionID {
        let id = shard.connect(agent: Agent(random: services.random()), grant: grant, now: services.now())
        while handlers.count <= Int(id.slot) { handlers.append(nil) }
        handlers[Int(id.slot)] = handler
        // Its handshake was under way when the others were told.
        if isStopping { events.append(.late(id)) }
        return id
    }

    func mayCheckCredentials(_ hello: ClientMessage.Hello, size: Int, of id: ConnectionID) -> Bool {
        shard.mayCheckCredentials(hello, size: size, of: id, head: services.head(), now: services.now())
    }

    func receive(_ incoming: Incoming, size: Int = 0, from id: ConnectionID) {
        shard.receive(incoming, size: size, from: id, head: services.head(), now: services.now())
    }

    /// Whether a connection has to show credentials before anything else.
    func isStranger(_ id: ConnectionID) -> Bool { shard.isStranger(id) }

    /// Whether a connection should be read from.
    func mayRead(_ id: ConnectionID, backlog: Int) -> Bool {
        if backlog <= limits.maximumBacklog, !shard.isSaturated(id) { return true }
        paused.insert(id.slot)
        return false
    }

    /// A connection's channel is closed. That can happen in the middle of a fan-out, by a write that fails.
    func disconnect(_ id: ConnectionID) {
        events.append(.disconnected(id))
        run()
    }

    /// A connection is given up: nothing that it has sent takes effect any more, and what it holds ends, before its channel
    /// is closed.
    func abandon(_ id: ConnectionID) {
        events.append(.disconnected(id))
    }

    private func forget(_ id: ConnectionID) {
        // It may have been given up before, and its slot be another's by now.
        guard handlers[Int(id.slot)]?.id == id else { return }
        shard.disconnect(id)
        paused.remove(id.slot)
        handlers[Int(id.slot)] = nil
        if let whenEmpty, handlers.allSatisfy({ $0 == nil }) {
            whenEmpty.succeed()
            self.whenEmpty = nil
        }
    }

    func drained(_ id: ConnectionID) {
        events.append(.drained(id))
        run()
    }

    /// Bytes have come for a connection. A write that fails makes the channel read first, in the middle of a fan-out:
    /// then they wait until that is over.
    func readable(_ handler: ConnectionHandler) {
        if isRunning {
            events.append(.readable(handler.id))
        } else {
            handler.readMessages()
        }
    }

    /// There is no room for what connections hold of messages that are not whole: who holds the most of it has to go.
    func makeRoom(_ party: InboundMemory.Party) {
        let largest = handlers.lazy.compactMap { $0 }.filter { $0.held.party == party }
            .max { $0.held.count < $1.held.count }
        guard let largest, largest.held.count > 0 else { return }
        services.memory.noteRefusal()
        largest.giveUp(
            .overloaded, "too much is held of messages that are not whole; send this one again, or a smaller one")
        largest.stopReading()
    }

    /// Has ``run()`` called once all sockets that have something have been read: what came from many connections at once
    /// goes to the committer as one batch.
    func runSoon() {
        guard !willRun else { return }
        willRun = true
        eventLoop.execute { [self] in
            willRun = false
            turns.socketsWereLookedAt()
            run()
        }
    }

    /// Carries out what the shard has decided, until there is nothing left to do. Called after each round of inputs.
    func run() {
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
            case .drained(let id): shard.drained(id, head: services.head(), now: services.now())
            case .failed(let id): handlers[Int(id.slot)]?.abort()
            case .disconnected(let id): forget(id)
            case .readable(let id): handlers[Int(id.slot)]?.readMessages()
            case .late(let id): handlers[Int(id.slot)]?.shutDown()
            case .rejected(let writes): shard.reject(writes, head: services.head(), now: services.now())
            }
        }
    }

    private func backedUp(_ id: ConnectionID) {
        guard let handler = handlers[Int(id.slot)], handler.id == id else { return }
        shard.backedUp(id, dropped: handler.drop())
        if handler.backlog == 0 { events.append(.drained(id)) }
    }

    /// Reads on from connections that may be read from again.
    ///
    /// - Returns: whether any was.
    private func resume() -> Bool {
        guard !paused.isEmpty else { return false }
        var any = false
        for slot in paused {
            guard let handler = handlers[Int(slot)] else {
                paused.remove(slot)
                continue
            }
            guard handler.backlog <= limits.maximumBacklog, !shard.isSaturated(handler.id) else { continue }
            paused.remove(slot)
            any = true
            handler.resume()
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
        for handler in handlers { handler.map { check($0, at: now) } }
        shard.keepHolds(now: services.now())
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

    private func check(_ handler: ConnectionHandler, at now: NIODeadline) {
        switch handler.check(at: now) {
        case .alive: break
        case .stalled:
            stalls += 1
            handler.giveUp(.stalled, "nothing was read for \(limits.stallTimeout.nanoseconds / 1_000_000_000) s")
        case .unresponsive:
            pingTimeouts += 1
            handler.abort()
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
            if handlers.allSatisfy({ $0 == nil }) {
                promise.succeed()
            } else {
                whenEmpty = promise
                for handler in handlers { handler?.shutDown() }
                // Each connection ends by its own timeouts; one that does not must not keep the server from stopping.
                eventLoop.assumeIsolated().scheduleTask(
                    in: limits.drainTimeout + limits.lingerTimeout + .seconds(1)
                ) { [self] in
                    for handler in handlers { handler?.abort() }
                    whenEmpty?.succeed()
                    whenEmpty = nil
                }
            }
            return promise.futureResult
        }
    }
}

extension LoopDriver {
    /// The frames of a delivery, compressed: once for all connections of this event loop.
    func compressed(_ delivery: Delivery) -> ByteBuffer {
        if let frames = delivery.compressed { return frames }
        let frames = compressedChanges.frames(of: delivery, by: deflater)
        delivery.compressed = frames
        return frames
    }
}

extension LoopDriver: ShardOutput {
    package func send(_ frames: ByteBuffer, to slot: Int32) {
        handlers[Int(slot)]?.send(frames)
        check(slot)
    }

    package func deliver(_ delivery: Delivery) {
        let except = delivery.except
        for slot in delivery.slots where except.isEmpty || !except.contains(slot) {
            handlers[Int(slot)]?.send(delivery)
            check(slot)
        }
    }

    package func close(_ slot: Int32) {
        handlers[Int(slot)]?.finish()
    }

    package func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String) {
        handlers[Int(slot)]?.giveUp(code, reason)
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

    /// Notes, for after the fan-out, that a socket is broken or has too much to send.
    private func check(_ slot: Int32) {
        guard let handler = handlers[Int(slot)] else { return }
        if handler.hasFailed {
            events.append(.failed(handler.id))
        } else if handler.backlog > limits.maximumBacklog {
            events.append(.backedUp(handler.id))
        }
    }
}
