import Foundation
public import Logging
import Registers
import SyncClient
import SyncProtocol

/// A local-first replica of a Starling server: what matches the subscriptions, and this client's own writes.
///
/// It is usable at once: reads and writes work while the connection is made, and while there is none. It lives until ``close(timeout:)``.
public final class StarlingClient: Sendable {
    /// The subscription whose callback is running in this task.
    @TaskLocal static var callback: Int?

    /// How a client behaves; the defaults are good ones.
    public struct Options: Sendable {
        /// The name to write under; nil: a random one.
        public var agent: String?
        /// Travels along with each write that does not name one.
        public var session: String?
        /// Credentials; is called for each connection.
        public var token: (@Sendable () async throws -> String)?
        /// Where writes wait for the server.
        public var outbox: any OutboxStore = MemoryOutbox()
        /// How many may wait.
        public var outboxLimit = 100_000
        /// Between pings that look whether the server is still there.
        public var pingInterval = Duration.seconds(10)
        /// After which a server that does not answer a ping is left.
        public var pingTimeout = Duration.seconds(5)
        /// About, between measurements of the other edges.
        public var probeInterval = Duration.seconds(30)
        /// Says what to do with a write whose stamp was refused (`drift`, `stale_version`).
        public var onRefused: @Sendable (WriteRecord, StarlingError) -> RefusedWrite = { _, error in
            error.code == "drift" ? .restamp : .drop
        }
        /// A file of roots (PEM) that the server's certificate may come from; nil: those of this machine.
        public var roots: String?
        /// Where to log: connections and states at `info`, which the default one leaves out, refusals at `warning`.
        public var logger: Logger

        /// The defaults.
        public init() {
            logger = Logger(label: "starling")
            logger.logLevel = .notice
        }
    }

    let core: Core

    /// Opens a replica; the connection is made in the background.
    ///
    /// - Parameters:
    ///   - urls: of one server, or of several edges, of which the nearest healthy one is used.
    /// - Throws: ``StarlingError`` `bad_url`, `bad_agent`, `outbox_failed`.
    public init(_ urls: String..., agent: String? = nil, options: Options = Options()) throws {
        let start = ContinuousClock.now
        var distinct: [String] = []
        for url in urls where !distinct.contains(url) { distinct.append(url) }
        var engine = Engine.Options(
            urls: distinct, now: { (ContinuousClock.now - start) / .milliseconds(1) },
            wall: { Date().timeIntervalSince1970 * 1_000 })
        engine.agent = agent ?? options.agent
        engine.randomAgent = "swift-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        engine.session = options.session
        engine.outboxLimit = options.outboxLimit
        engine.pingInterval = options.pingInterval / .milliseconds(1)
        engine.pingTimeout = options.pingTimeout / .milliseconds(1)
        engine.probeInterval = options.probeInterval / .milliseconds(1)
        engine.onRefused = options.onRefused
        try Self.check(engine)
        core = Core(
            engine, store: options.outbox, logger: options.logger, token: options.token, roots: options.roots)
        try core.begin()
    }

    private static func check(_ options: Engine.Options) throws(StarlingError) {
        if options.urls.isEmpty { throw StarlingError("bad_url", "a client needs the URL of a server") }
        for url in options.urls {
            do throws(ClientError) {
                _ = try Endpoint(url)
            } catch {
                throw StarlingError("bad_url", error.description)
            }
        }
        do throws(TextError) {
            _ = try Agent(options.agent ?? options.randomAgent)
        } catch {
            throw StarlingError("bad_agent", error.description)
        }
    }

    /// Ends everything, at once, where nothing can be awaited. What has no outcome yet stays in a durable outbox, and is lost with one
    /// that is none, which is logged. ``close(timeout:)`` waits for it. (It has a name of its own: of two that differ in `async` alone,
    /// a script's top level takes the one that does not wait.)
    public func closeAtOnce() {
        core.close()
    }

    /// Ends everything: releases the claims that are held, and waits until each write has its outcome, for at most `timeout`. What is left
    /// is logged; a durable outbox keeps it, and is not waited for where no server answers.
    public func close(timeout: Duration = .seconds(5)) async {
        if isWorthWaiting {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { [self] in
                    for lease in core.perform({ Array($0.leases.values) }) where lease.isHeld {
                        try? await lease.release()
                    }
                    await drained()
                }
                group.addTask { try? await Task.sleep(for: timeout) }
                group.addTask { [self] in await untilVerdict() }
                if core.isDurable {
                    group.addTask { [self] in for await state in states where state == .offline { return } }
                }
                await group.next()
                group.cancelAll()
            }
        }
        closeAtOnce()
    }

    private var isWorthWaiting: Bool {
        core.perform { [core] state in
            let engine = state.engine
            if engine.isGreeted { return true }
            if engine.state == .closed || engine.isPaused || engine.hasVerdict || !engine.hasUnsettled { return false }
            // A connection is being made, and nothing speaks against it yet.
            return !core.isDurable || engine.lastError == nil
        }
    }

    /// Waits until to try again cannot help.
    private func untilVerdict() async {
        let promise = Promise<Void>()
        core.perform { $0.verdicts.append(promise) }
        try? await promise.value
    }

    /// Why there is no connection; nil while there is one.
    public var lastError: StarlingError? { core.perform { $0.engine.lastError } }

    /// Ends the connection, and makes none until ``reconnect()``; the replica and the outbox stay.
    public func disconnect() { core.perform { $0.engine.disconnect() } }

    /// Connects again, at once: after ``disconnect()``, or when there is reason to believe that the network is back.
    public func reconnect() { core.perform { $0.engine.reconnect() } }

    // MARK: State

    /// How it stands to its server.
    public var state: ConnectionState { core.perform { $0.engine.state } }

    /// The states from now on, beginning with the one at hand.
    public var states: AsyncStream<ConnectionState> {
        AsyncStream { continuation in
            let id = core.perform { state in
                let id = state.nextObserver
                state.nextObserver += 1
                state.observers[id] = continuation
                continuation.yield(state.engine.state)
                return id
            }
            continuation.onTermination = { [weak core] _ in core?.perform { $0.observers[id] = nil } }
        }
    }

    /// Waits until the replica is live.
    ///
    /// - Parameter timeout: how long; nil: as long as it takes.
    /// - Throws: ``StarlingError``: what the server has against the credentials; why no server can be reached, where to try again cannot
    ///   help (`unauthorized`, `forbidden`, `not_found`, `bad_certificate`, …) or the time is over (`offline`); `closed`.
    public func live(timeout: Duration? = nil) async throws {
        guard let timeout else { return try await untilLive() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [self] in try await untilLive() }
            group.addTask { [self] in
                try await Task.sleep(for: timeout)
                throw lastError ?? StarlingError("offline", "the replica is not live after \(timeout)")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func untilLive() async throws {
        let promise = Promise<Void>()
        core.perform { state in
            if state.engine.state == .live {
                promise.complete(.success(()))
            } else if state.engine.state == .closed {
                promise.complete(.failure(StarlingError("closed", "the client was closed")))
            } else if state.engine.hasVerdict, let error = state.engine.lastError {
                promise.complete(.failure(error))
            } else {
                state.live.append(promise)
            }
        }
        try await promise.value
    }

    /// The name that this client writes under.
    public var agent: String { core.perform { $0.engine.agent } }

    /// The URL of the edge in use, or tried last.
    public var edge: String { core.perform { $0.engine.edge } }

    /// What is known of the edges.
    public var edges: [EdgeStatus] { core.perform { $0.engine.edges.describe(at: $0.engine.now) } }

    /// How long ago what ``get(_:)`` and ``list(_:)`` answer was certainly the latest, but for the time that a change takes to
    /// get here; nil if it never was.
    public var age: Duration? {
        let age = core.perform { $0.engine.age }
        return age.isFinite ? .milliseconds(age) : nil
    }

    var serverNow: Double { core.perform { $0.engine.serverNow } }

    // MARK: Reading

    /// Subscribes to a pattern: what matches now, and then every change. Iterate over what is returned, or only read from the
    /// replica that it keeps.
    ///
    /// - Parameters:
    ///   - snapshot: false leaves out what is there already.
    ///   - echo: false keeps this client's own writes away.
    /// - Throws: ``StarlingError`` `bad_pattern`, `closed`.
    @discardableResult
    public func subscribe(_ pattern: String, snapshot: Bool = true, echo: Bool = true) throws -> Subscription {
        let pattern = try Self.pattern(pattern)
        let delivery = Delivery()
        let synced = Promise<Void>()
        let id = try core.perform { state in
            if state.engine.state == .closed { throw StarlingError("closed", "the client was closed") }
            let id = state.engine.subscribe(pattern, snapshot: snapshot, echo: echo)
            state.deliveries[id] = delivery
            state.synced[id] = synced
            return id
        }
        return Subscription(id: id, client: self, delivery: delivery, whenSynced: synced)
    }

    /// Subscribes to a pattern, and calls back with each update, one after the other: the next one waits until the callback is
    /// done, and what comes meanwhile is conflated by key.
    ///
    /// - Throws: ``StarlingError`` `bad_pattern`, `closed`.
    @discardableResult
    public func subscribe(
        _ pattern: String, snapshot: Bool = true, echo: Bool = true,
        _ callback: @escaping @Sendable (Update) async throws -> Void
    ) throws -> Subscription {
        let subscription = try subscribe(pattern, snapshot: snapshot, echo: echo)
        let logger = core.logger
        Task { [delivery = subscription.delivery, id = subscription.id] in
            await Self.$callback.withValue(id) {
                while let update = try? await delivery.next(forCallback: true) {
                    do {
                        try await callback(update)
                    } catch {
                        logger.error("the subscriber to \(pattern) threw: \(error)")
                    }
                }
            }
            delivery.finishCalls()
        }
        return subscription
    }

    static func pattern(_ text: String) throws(StarlingError) -> Pattern {
        do throws(PatternError) {
            return try Pattern(text)
        } catch {
            throw StarlingError("bad_pattern", error.description)
        }
    }

    /// The register of a key, from the replica, at once; nil where there is none, or nothing subscribed to matches.
    public func entry(_ key: String) -> Update? {
        guard let key = try? Key(key) else { return nil }
        return core.perform { state in state.engine.read(key).map { Update($0.held, isPending: $0.isPending) } }
    }

    /// The value of a key, from the replica, at once; nil where there is none, or nothing subscribed to matches.
    ///
    /// - Throws: `DecodingError` when it is of another type.
    public func get<Value: Decodable>(_ key: String, as type: Value.Type = Value.self) throws -> Value? {
        try entry(key)?.value(as: type)
    }

    /// The registers of the replica that match a pattern, by key.
    ///
    /// - Throws: ``StarlingError`` `bad_pattern`.
    public func list(_ pattern: String = "*") throws -> [Update] {
        let pattern = try Self.pattern(pattern)
        return core.perform { state in
            state.engine.list(pattern).map { Update($0.held, isPending: $0.isPending) }
        }
    }
}
