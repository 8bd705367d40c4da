import Logging
import NIOCore
import NIOPosix
import SyncClient
import SyncProtocol
import Synchronization

/// The engine behind a lock, and what carries out what it wants done: sockets, one timer, and those who wait.
///
/// What the engine wants is done while the lock is held, so that it is done in order. None of it calls back at once: messages
/// and timers go through the event loop, and whoever waits is resumed by the run-time.
final class Core: Sendable {
    struct State {
        var engine: Engine
        /// The writes that the store has under an older version, since it could not take the newer one.
        var storedAs: [String: String] = [:]
        var attempt: Attempt?
        var timer: Scheduled<Void>?
        var timerDeadline = Double.infinity
        var deliveries: [Int: Delivery] = [:]
        var synced: [Int: Promise<Void>] = [:]
        var writes: [Int: Promise<Outcome>] = [:]
        /// What takes the answers, before anything else comes from the server.
        var requests: [Int: @Sendable (Result<JSONObject, StarlingError>, inout State) -> Void] = [:]
        var observers: [Int: AsyncStream<ConnectionState>.Continuation] = [:]
        var nextObserver = 0
        var live: [Promise<Void>] = []
        /// Those who want to know when to try again cannot help.
        var verdicts: [Promise<Void>] = []
        /// The claims that are held, by number.
        var leases: [Int: Lease] = [:]
        var probes: Set<String> = []
    }

    private let state: Mutex<State>
    private let eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()
    private let store: any OutboxStore
    let logger: Logger
    private let token: (@Sendable () async throws -> String)?
    private let roots: String?

    init(
        _ options: Engine.Options, store: any OutboxStore, logger: Logger,
        token: (@Sendable () async throws -> String)?,
        roots: String?
    ) {
        state = Mutex(State(engine: Engine(options)))
        self.store = store
        self.logger = logger
        self.token = token
        self.roots = roots
    }

    func begin() throws {
        let records: [WriteRecord]
        do {
            records = try store.load()
        } catch let error as StarlingError {
            throw error
        } catch {
            throw StarlingError("outbox_failed", "the outbox cannot be used: \(error)")
        }
        perform { state in state.engine.begin(records) }
    }

    /// Whether what the outbox holds outlasts the process.
    var isDurable: Bool { store.isDurable }

    /// Ends everything, and says what is left.
    func close() {
        let (left, wasOpen) = perform { state in
            let left = state.engine.outbox.count
            let wasOpen = state.engine.state != .closed
            state.engine.close()
            return (left, wasOpen)
        }
        guard wasOpen else { return }
        store.close()
        if left > 0, !isDurable {
            logger.warning("the client was closed with \(left) writes that the server has not acknowledged")
        }
    }

    /// Changes the engine, and carries out what it wants.
    @discardableResult
    func perform<Result: Sendable>(_ body: (inout State) throws -> Result) rethrows -> Result {
        try state.withLock { state in
            defer {
                var effects = state.engine.takeEffects()
                while !effects.isEmpty {
                    for effect in effects { carryOut(effect, &state) }
                    effects = state.engine.takeEffects()
                }
                schedule(&state)
            }
            return try body(&state)
        }
    }

    private func carryOut(_ effect: Effect, _ state: inout State) {
        switch effect {
        case .dial(let url): state.attempt = dial(url)
        case .send(let bytes): state.attempt?.send(bytes)
        case .hangUp:
            state.attempt?.hangUp()
            state.attempt = nil
        case .probe(let url): if state.probes.insert(url).inserted { probe(url) }
        case .log(.info, let text): logger.info("\(text)")
        case .log(.warning, let text): logger.warning("\(text)")
        case .log(.error, let text): logger.error("\(text)")
        case .tell(let id, let slot, let update): state.deliveries[id]?.push(slot, update)
        case .synced(let id): state.synced[id]?.complete(.success(()))
        case .ended(let id, let error):
            state.deliveries.removeValue(forKey: id)?.close(error)
            let ended = error ?? StarlingError("closed", "the subscription has ended")
            state.synced.removeValue(forKey: id)?.complete(.failure(ended))
        case .settled(let id, let result):
            state.writes.removeValue(forKey: id)?.complete(result.mapError { $0 })
        case .answered(let id, let result): state.requests.removeValue(forKey: id)?(result, &state)
        case .verdict(let error):
            completeLive(.failure(error), &state)
            for promise in state.verdicts { promise.complete(.success(())) }
            state.verdicts = []
        case .claimEnded(let claim, let end): state.leases.removeValue(forKey: claim)?.finish(end)
        case .state(let connection): tellState(connection, &state)
        case .store(let event): keep(event, &state)
        }
    }

    private func completeLive(_ result: Result<Void, any Error>, _ state: inout State) {
        for promise in state.live { promise.complete(result) }
        state.live = []
    }

    private func tellState(_ connection: ConnectionState, _ state: inout State) {
        for observer in state.observers.values { observer.yield(connection) }
        if connection == .live { completeLive(.success(()), &state) }
        guard connection == .closed else { return }
        completeLive(.failure(StarlingError("closed", "the client was closed")), &state)
        for observer in state.observers.values { observer.finish() }
        state.observers = [:]
    }

    private func keep(_ event: Outbox.Event, _ state: inout State) {
        do {
            switch event {
            case .replace(let version, let record):
                // The new record first: a crash between the two leaves both, and the one with the greater version counts. Where
                // there is no room for it, the old one stays.
                let stored = state.storedAs.removeValue(forKey: version) ?? version
                state.storedAs[record.version] = stored
                try store.put(record)
                state.storedAs[record.version] = nil
                try store.remove(version: stored)
            case .remove(let version):
                try store.remove(version: state.storedAs.removeValue(forKey: version) ?? version)
            case .collapsed(let token, let key, let version):
                let outcome = Outcome(
                    status: .superseded, key: key, version: version, revision: nil, isDurable: false, current: nil)
                state.writes.removeValue(forKey: token)?.complete(.success(outcome))
            }
        } catch {
            logger.error("the outbox cannot be written: \(error)")
        }
    }

    /// Keeps a write, and makes it.
    ///
    /// - Throws: ``StarlingError`` `outbox_failed`; then nothing has happened.
    func make(_ record: WriteRecord, _ promise: Promise<Outcome>, _ state: inout State) throws {
        do {
            try store.put(record)
        } catch {
            throw StarlingError("outbox_failed", "the outbox cannot keep the write to \(record.key): \(error)")
        }
        state.writes[try state.engine.add(record)] = promise
    }

    // MARK: Time

    private func schedule(_ state: inout State) {
        let deadline = state.engine.deadline
        // A timer that fires too early only looks at the clock; one for each message would cost more.
        guard deadline < state.timerDeadline else { return }
        state.timer?.cancel()
        state.timerDeadline = deadline
        let delay = max(0, deadline - state.engine.now)
        state.timer = eventLoop.scheduleTask(in: .nanoseconds(Int64(min(delay, 60_000) * 1e6) + 500_000)) {
            [weak self] in
            self?.fire()
        }
    }

    private func fire() {
        perform { state in
            state.timer = nil
            state.timerDeadline = .infinity
            state.engine.tick()
        }
    }

    // MARK: Sockets

    private func dial(_ url: String) -> Attempt {
        let attempt = Attempt(eventLoop)
        Task { [weak self, token] in
            do {
                if let shown = try await token?() { self?.perform { $0.engine.token = shown } }
            } catch {
                self?.dropped(attempt, .init(reason: "there is no token: \(error)"))
                return
            }
            self?.open(attempt, url)
        }
        return attempt
    }

    private func open(_ attempt: Attempt, _ url: String) {
        do {
            let dialer = try Dialer(url, roots: roots)
            attempt.open(dialer) { [weak self] event in
                switch event {
                case .message(let bytes): self?.received(attempt, bytes)
                case .closed(let end): self?.dropped(attempt, end)
                }
            }
        } catch {
            dropped(attempt, .init(error))
        }
    }

    private func received(_ attempt: Attempt, _ bytes: [UInt8]) {
        perform { state in
            if state.attempt === attempt { state.engine.received(bytes) }
        }
    }

    private func dropped(_ attempt: Attempt, _ end: Attempt.End) {
        perform { state in
            guard state.attempt === attempt else { return }
            state.attempt = nil
            state.engine.dropped(end.reason, code: end.code, isFinal: end.isFinal)
        }
    }

    private func probe(_ url: String) {
        Task { [weak self, roots] in
            let roundTrip = await Probe.roundTrip(url, roots: roots)
            self?.perform { state in
                state.probes.remove(url)
                state.engine.probed(url, roundTrip)
            }
        }
    }
}
