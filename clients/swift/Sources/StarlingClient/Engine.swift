import Registers
import SyncProtocol

/// All that a client decides, without a socket, a timer or a clock of its own: what happens is reported to it, and what it
/// wants done it leaves in ``takeEffects()``. Times are in milliseconds.
struct Engine: Sendable {
    struct Options: Sendable {
        var urls: [String]
        var agent: String?
        var randomAgent = "swift"
        var session: String?
        var outboxLimit = 100_000
        var pingInterval = 10_000.0
        var pingTimeout = 5_000.0
        var probeInterval = 30_000.0
        var refusedDelay = 5_000.0
        var onRefused: @Sendable (WriteRecord, StarlingError) -> RefusedWrite = { _, error in
            error.code == "drift" ? .restamp : .drop
        }
        var now: @Sendable () -> Double
        /// From 0 up to 1.
        var random: @Sendable () -> Double = { Double.random(in: 0..<1) }
    }

    enum Phase {
        case idle, dialing, greeting, open, closed
    }

    static let connectTimeout = 10_000.0
    /// How far in the future a stamp may be that our clock follows, where the server does not say.
    static let standardDrift = 60_000.0

    let options: Options
    var effects: [Effect] = []
    private(set) var agent: String
    private(set) var state = ConnectionState.offline
    private(set) var edge: String
    private(set) var phase = Phase.idle
    private var phaseSince = 0.0
    var edges: Edges
    var subscriptions: [Int: SubscriptionState] = [:]
    var nextSubscription = 1
    var outbox = Outbox()
    var clock = HybridLogicalClock()
    /// When writes may be sent again, after the server asked for a pause.
    var pausedUntil = 0.0
    var pauses = 0
    var requests: [Int: String] = [:]
    var nextRequest = 1
    /// Registers that are kept up while there is a connection, by key, with the members of their messages.
    var presences: [String: Presence] = [:]
    var token: String?
    private var offset = 0.0
    private(set) var drift = standardDrift
    private var lastHeard = -Double.infinity
    private var lastLive = -Double.infinity
    private var pingSentAt: Double?
    private var lastPing = -Double.infinity
    private var probeAt = Double.infinity
    /// Whether the user wants no connection.
    private var isPaused = false

    init(_ options: Options) {
        self.options = options
        agent = options.agent ?? options.randomAgent
        edges = Edges(options.urls)
        edge = options.urls.first ?? ""
    }

    var now: Double { options.now() }
    /// The server's wall clock, as far as it is known.
    var serverNow: Double { now + offset }
    var serverMilliseconds: UInt64 { UInt64(min(max(0, serverNow), Double(Stamp.maximumMilliseconds))) }
    var isGreeted: Bool { phase == .open }
    /// Whether messages get somewhere.
    var canSend: Bool { phase == .open || phase == .greeting }

    mutating func takeEffects() -> [Effect] {
        effects += outbox.takeEvents().map { .store($0) }
        defer { effects = [] }
        return effects
    }

    // MARK: The connection

    /// Begins, with what an earlier run left in the outbox.
    mutating func begin(_ records: [WriteRecord]) {
        restore(records)
        dial()
    }

    private mutating func dial() {
        guard !isPaused, let url = edges.choose(at: now) else {
            set(.idle)
            return
        }
        dial(url)
    }

    private mutating func dial(_ url: String) {
        edge = url
        set(.dialing)
        effects.append(.dial(url))
    }

    private mutating func set(_ phase: Phase) {
        self.phase = phase
        phaseSince = now
        updateState()
    }

    mutating func updateState() {
        let next: ConnectionState =
            switch phase {
            case .closed: .closed
            case .idle: .offline
            case .dialing, .greeting: .connecting
            case .open: subscriptions.values.allSatisfy(\.isSynced) ? .live : .catchingUp
            }
        guard next != state else { return }
        state = next
        effects.append(.log(.info, next == .offline ? next.rawValue : "\(next.rawValue) (\(edge))"))
        effects.append(.state(next))
    }

    /// A message came.
    mutating func received(_ bytes: [UInt8]) {
        guard phase != .idle, phase != .closed else { return }
        lastHeard = now
        if state == .live { lastLive = lastHeard }
        do throws(JSONError) {
            handle(try JSONObject(bytes))
        } catch {
            effects.append(.log(.warning, "the server sent what is no JSON object: \(error)"))
        }
    }

    private mutating func handle(_ message: JSONObject) {
        switch message.string("type") {
        case "welcome": welcome(message)
        case "subscribed": changeSubscription(message) { $0.subscribed(message) }
        case "update": update(message)
        case "synced": synced(message)
        case "cursor": reached(message)
        case "pong": pong()
        case "ack", "error", "claimed", "refused", "released", "register", "registers": answer(message)
        case "bye":
            let reason = "\(message.string("code") ?? ""): \(message.string("reason") ?? "")"
            effects.append(.log(.info, "the server says bye: \(reason)"))
            leave(retryAfter: Double(message.integer("retry_after_ms") ?? 0))
        default: break
        }
    }

    private mutating func answer(_ message: JSONObject) {
        if let wireID = message.integer("id"), answerWrite(Int(wireID), message) { return }
        let isError = message.string("type") == "error"
        guard let id = message.string("id") else {
            if isError { effects.append(.log(.warning, StarlingError(message).description)) }
            return
        }
        if id.hasPrefix("r"), let request = Int(id.dropFirst()), requests.removeValue(forKey: request) != nil {
            effects.append(.answered(request: request, isError ? .failure(StarlingError(message)) : .success(message)))
        } else if isError, id == "hello" {
            unwelcome(message)
        } else if isError {
            subscriptionRefused(id, message)
        }
    }

    private mutating func welcome(_ message: JSONObject) {
        switch phase {
        case .dialing:
            adjustOffset(message.integer("time"))
            drift = message.object("limits")?.integer("drift_ms").map { Double($0) } ?? Self.standardDrift
            set(.greeting)
            var hello = Message("hello")
            hello.add("id", "hello")
            // Credentials may say who we are.
            hello.add("agent", options.agent ?? (token == nil ? agent : nil))
            hello.add("session", options.session)
            hello.add("token", token)
            effects.append(.send(hello.bytes))
            for id in subscriptions.keys.sorted() { sendSubscribe(id) }
            ping()
        case .greeting:
            if let name = message.string("agent"), name != agent {
                let old = agent
                agent = name
                renamed(from: old, to: name)
            }
            edges.succeeded(edge)
            set(.open)
            flush()
            for presence in presences.values { announce(presence) }
            probeAt = min(probeAt, now)
        case .idle, .open, .closed: break
        }
    }

    private mutating func unwelcome(_ message: JSONObject) {
        let error = StarlingError(message)
        effects.append(.log(.error, "the server refuses the credentials: \(error)"))
        effects.append(.credentialsRefused(error))
        leave(retryAfter: options.refusedDelay)
    }

    private mutating func adjustOffset(_ serverTime: Int64?) {
        if let serverTime { offset = Double(serverTime) - now }
    }

    /// Our clock turned out to be wrong.
    mutating func adjustClock(_ serverTime: Int64) {
        adjustOffset(serverTime)
        if Double(clock.last.milliseconds) > Double(serverTime) + drift { clock = HybridLogicalClock() }
    }

    /// Ends the connection, and does not use this edge for a while.
    private mutating func leave(retryAfter: Double) {
        edges.failed(edge, at: now, atLeast: retryAfter, random: options.random())
        effects.append(.hangUp)
        forgetConnection()
        dial()
    }

    /// The connection, or the attempt at one, ended without our doing.
    mutating func dropped(_ reason: String) {
        guard phase != .idle, phase != .closed else { return }
        effects.append(.log(.info, "the connection to \(edge) ended: \(reason)"))
        edges.failed(edge, at: now, random: options.random())
        forgetConnection()
        dial()
    }

    private mutating func forgetConnection() {
        pingSentAt = nil
        for id in Array(subscriptions.keys) { subscriptions[id]?.disconnected() }
        failRequests()
        outbox.disconnected()
        pausedUntil = 0
        effects.append(.disconnected)
    }

    /// What a probe of another edge found.
    ///
    /// - Parameter roundTrip: nil if it does not answer.
    mutating func probed(_ url: String, _ roundTrip: Double?) {
        guard phase != .closed else { return }
        if let roundTrip {
            edges.measured(url, roundTrip)
            edges.succeeded(url)
        } else {
            edges.failed(url, at: now, random: options.random())
        }
        guard phase == .open, let better = edges.better(than: edge, at: now) else { return }
        effects.append(.log(.info, "\(better) is nearer than \(edge)"))
        effects.append(.hangUp)
        forgetConnection()
        dial(better)
    }

    /// Ends the connection, and makes none until ``reconnect()``.
    mutating func disconnect() {
        guard !isPaused, phase != .closed else { return }
        isPaused = true
        guard phase != .idle else { return }
        effects.append(.hangUp)
        forgetConnection()
        dial()
    }

    /// Tries at once, however long the wait would be: after ``disconnect()``, or when the network is back.
    mutating func reconnect() {
        isPaused = false
        guard phase == .idle else { return }
        edges.forgive()
        dial()
    }

    mutating func close() {
        guard phase != .closed else { return }
        if phase != .idle { effects.append(.hangUp) }
        forgetConnection()
        for id in subscriptions.keys.sorted() { end(id, nil) }
        set(.closed)
    }

    // MARK: Time

    /// When ``tick()`` is to be called next.
    var deadline: Double {
        switch phase {
        case .idle: isPaused ? .infinity : edges.nextAttempt
        case .dialing, .greeting: phaseSince + Self.connectTimeout
        case .open:
            min(
                pingSentAt.map { $0 + options.pingTimeout } ?? lastPing + options.pingInterval,
                pausedUntil > now ? pausedUntil : .infinity, edges.count > 1 ? probeAt : .infinity,
                subscriptions.values.map(\.retryAt).min() ?? .infinity)
        case .closed: .infinity
        }
    }

    mutating func tick() {
        switch phase {
        case .idle: if edges.nextAttempt <= now { dial() }
        case .dialing, .greeting: if now >= phaseSince + Self.connectTimeout { giveUp("it did not answer in time") }
        case .open: tickOpen()
        case .closed: break
        }
    }

    private mutating func tickOpen() {
        if let pingSentAt {
            if now >= pingSentAt + options.pingTimeout { return giveUp("it does not answer pings") }
        } else if now >= lastPing + options.pingInterval {
            ping()
        }
        flush()
        for id in subscriptions.filter({ $0.value.retryAt <= now }).map(\.key) { sendSubscribe(id) }
        if now >= probeAt {
            // Spread, so that a thousand clients do not probe at once.
            probeAt = now + options.probeInterval * (0.5 + options.random())
            effects += edges.others(than: edge, at: now).map { .probe($0) }
        }
    }

    private mutating func giveUp(_ reason: String) {
        effects.append(.hangUp)
        dropped(reason)
    }

    private mutating func ping() {
        pingSentAt = now
        lastPing = now
        effects.append(.send(Array(#"{"type":"ping","id":"ping"}"#.utf8)))
    }

    private mutating func pong() {
        guard let sentAt = pingSentAt else { return }
        edges.measured(edge, now - sentAt)
        pingSentAt = nil
    }

    /// How long ago what the replica holds was certainly the latest; infinity if it never was.
    var age: Double { now - (state == .live ? lastHeard : lastLive) }
}

extension StarlingError {
    /// What an `error` of the server says.
    init(_ message: JSONObject) {
        let code = message.string("code") ?? "unknown"
        self.init(code, message.string("message") ?? code)
    }
}
