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
        /// A clock that nobody sets: for all that is to happen some time later.
        var now: @Sendable () -> Double
        /// The wall clock.
        var wall: @Sendable () -> Double
        /// From 0 up to 1.
        var random: @Sendable () -> Double = { Double.random(in: 0..<1) }
    }

    enum Phase {
        case idle, dialing, greeting, open, closed
    }

    static let connectTimeout = 10_000.0
    /// A connection that lived so long was a good one.
    static let goodConnection = 5_000.0
    /// How many versions of own writes beside the outbox are remembered.
    static let ownVersionsKept = 1_000
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
    /// The greatest stamp that came from a server.
    var received = Stamp.zero
    /// When writes may be sent again, after the server asked for a pause; 0: now.
    var pausedUntil = 0.0
    /// Pauses in a row that the server asked for.
    var pauses = 0
    /// How many writes may be on their way: less after a refusal, one more after each success.
    var window = widestWindow
    /// The longest message that the server takes.
    private(set) var longestMessage = (1 << 20) + (64 << 10)
    /// Versions of own writes beside the outbox: conditional ones, claims, presence; the oldest first.
    var ownVersions: Set<Version> = []
    var ownVersionsInOrder: [Version] = []
    var questions = Questions()
    /// The ids of what was sent and is not answered, in that order: the server answers in it.
    var asked = AskedIDs()
    /// Why there is no connection; nil while there is one.
    var lastError: StarlingError?
    /// Why to try again cannot help, by the URLs of those that said so; and whether that goes for all.
    var verdicts: [String: StarlingError] = [:]
    var hasVerdict: Bool { verdicts.count == edges.count }
    /// What was logged of each: once is enough.
    var told: [String: String] = [:]
    /// Registers that are kept up while there is a connection, by key.
    var presences: [String: Presence] = [:]
    var token: String?
    /// Claims that are held, by number.
    var claims: [Int: Claim] = [:]
    var nextClaim = 1
    /// The claim that each request renews, and when it was asked.
    var renewals: [Int: (claim: Int, askedAt: Double)] = [:]
    /// The server's wall clock less ours; nil before the first welcome.
    var offset: Double?
    private(set) var drift = standardDrift
    private var liveness: Liveness
    private var lastLive = -Double.infinity
    /// Whether the server was asked which name we have.
    var isNameless = false
    private var probeAt = Double.infinity
    /// Whether the user wants no connection.
    private(set) var isPaused = false

    init(_ options: Options) {
        self.options = options
        agent = options.agent ?? options.randomAgent
        edges = Edges(options.urls)
        liveness = Liveness(interval: options.pingInterval, timeout: options.pingTimeout)
        edge = options.urls.first ?? ""
    }

    var now: Double { options.now() }
    /// The server's wall clock, as far as it is known.
    var serverNow: Double { options.wall() + (offset ?? 0) }
    var serverTime: WallTime {
        WallTime(milliseconds: UInt64(min(max(0, serverNow), Double(Stamp.maximumMilliseconds))))
    }
    var isGreeted: Bool { phase == .open }
    /// Whether messages get somewhere.
    var canSend: Bool { phase == .open || phase == .greeting }

    mutating func takeEffects() -> [Effect] {
        // What is to be kept first: it is to be in the outbox before it is on its way.
        let stored = outbox.takeEvents().map { Effect.store($0) }
        defer { effects = [] }
        return stored.isEmpty ? effects : stored + effects
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
        liveness.lastHeard = now
        if state == .live { lastLive = liveness.lastHeard }
        do throws(JSONError) {
            handle(try JSONObject(bytes))
        } catch {
            effects.append(.log(.error, "the server sent what is no JSON object: \(error)"))
            if !Self.isJSON(bytes) { giveUp("the server sent what is no JSON: \(error)", "bad_answer") }
        }
    }

    private mutating func handle(_ message: JSONObject) {
        switch message.string("type") {
        case "welcome": welcome(message)
        case "subscribed":
            answered(message.string("id"))
            changeSubscription(message) { $0.subscribed(message) }
        case "unsubscribed": answered(message.string("id"))
        case "update": update(message)
        case "synced": synced(message)
        case "cursor": reached(message)
        case "pong": pong(message.integer("time"))
        case "ack", "error", "claimed", "refused", "released", "register", "registers": answer(message)
        case "bye":
            let reason = "\(message.string("code") ?? ""): \(message.string("reason") ?? "")"
            effects.append(.log(.info, "the server says bye: \(reason)"))
            leave(retryAfter: Double(message.integer("retry_after_ms") ?? 0))
        // Whatever else a request is answered with.
        default: if isAsked(message.string("id")) { answer(message) }
        }
    }

    private mutating func welcome(_ message: JSONObject) {
        switch phase {
        case .dialing:
            let isFirst = offset == nil
            adjustOffset(message.integer("time").map { Double($0) })
            if isFirst { corrected(by: offset ?? 0) }
            let limits = message.object("limits")
            drift = limits?.integer("drift_ms").map { Double($0) } ?? Self.standardDrift
            longestMessage = limits?.integer("message").map { Int($0) } ?? longestMessage
            set(.greeting)
            hello(agent)
            // Before the subscriptions: behind a snapshot it would measure that.
            ping()
            for id in subscriptions.keys.sorted() { sendSubscribe(id) }
        case .greeting:
            answered("hello")
            (lastError, told, verdicts[edge]) = (nil, [:], nil)
            if let name = message.string("agent"), name != agent {
                agent = name
                renamed()
            }
            set(.open)
            flush()
            for key in presences.keys.sorted() { announce(key) }
            tickClaims()
            probeAt = min(probeAt, now)
        case .idle, .open, .closed: break
        }
    }

    /// Ends the connection, and does not use this edge for a while.
    mutating func leave(retryAfter: Double) {
        judgeEdge()
        edges.failed(edge, at: now, atLeast: retryAfter, random: options.random())
        effects.append(.hangUp)
        forgetConnection()
        dial()
    }

    /// The connection, or the attempt at one, ended without our doing.
    ///
    /// - Parameter isFinal: whether it would end in the same way again.
    mutating func dropped(_ reason: String, code: String = "offline", isFinal: Bool = false) {
        guard phase != .idle, phase != .closed else { return }
        note(StarlingError(code, reason), isFinal: isFinal)
        judgeEdge()
        edges.failed(edge, at: now, atLeast: isFinal ? options.refusedDelay : 0, random: options.random())
        forgetConnection()
        dial()
    }

    /// A connection that lasted closes the breaker: one that is greeted and then dropped, again and again, does not.
    private mutating func judgeEdge() {
        if phase == .open, now >= phaseSince + Self.goodConnection { edges.succeeded(edge) }
    }

    private mutating func forgetConnection() {
        liveness.disconnected()
        isNameless = false
        asked = AskedIDs()
        for id in Array(subscriptions.keys) { subscriptions[id]?.disconnected() }
        failRequests()
        outbox.disconnected()
        pausedUntil = 0
        loseClaims()
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
        // A move is not worth a lost claim, or an answer that does not come.
        guard phase == .open, questions.isEmpty, !needsConnection, let better = edges.better(than: edge, at: now),
            verdicts[better] == nil  // It answers pings, and takes nobody in.
        else { return }
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
        verdicts = [:]
        guard phase == .idle else { return }
        edges.forgive()
        dial()
    }

    mutating func close() {
        guard phase != .closed else { return }
        if phase != .idle { effects.append(.hangUp) }
        forgetConnection()
        for id in subscriptions.keys.sorted() { end(id, nil) }
        giveUpQuestions(StarlingError("closed", "the client was closed"))
        for number in claims.keys.sorted() { end(claim: number, .lost("closed")) }
        let closed = StarlingError(
            "closed", "the client was closed; what a durable outbox holds is sent by the next one")
        for token in outbox.close() { effects.append(.settled(write: token, .failure(closed))) }
        set(.closed)
    }

    // MARK: Time

    /// When ``tick()`` is to be called next.
    var deadline: Double { min(connectionDeadline, questions.deadline, claimDeadline) }

    private var connectionDeadline: Double {
        switch phase {
        case .idle: isPaused ? .infinity : edges.nextAttempt
        case .dialing, .greeting: phaseSince + Self.connectTimeout
        case .open:
            min(
                liveness.deadline, pausedUntil > 0 ? pausedUntil : .infinity, edges.count > 1 ? probeAt : .infinity,
                subscriptions.values.map(\.retryAt).min() ?? .infinity,
                presences.values.map(\.announceAt).min() ?? .infinity)
        case .closed: .infinity
        }
    }

    mutating func tick() {
        giveUpLateQuestions()
        tickClaims()
        switch phase {
        case .idle: if edges.nextAttempt <= now { dial() }
        case .dialing, .greeting: if now >= phaseSince + Self.connectTimeout { giveUp("it did not answer in time") }
        case .open: tickOpen()
        case .closed: break
        }
    }

    private mutating func tickOpen() {
        switch liveness.tick(at: now) {
        case .leave: return giveUp("it does not answer pings")
        case .ping: ping()
        case nil: break
        }
        judgeEdge()
        flush()
        announceAgain()
        for id in subscriptions.filter({ $0.value.retryAt <= now }).map(\.key) { sendSubscribe(id) }
        if now >= probeAt {
            // Spread, so that a thousand clients do not probe at once.
            probeAt = now + options.probeInterval * (0.5 + options.random())
            effects += edges.others(than: edge, at: now).map { .probe($0) }
        }
    }

    private mutating func giveUp(_ reason: String, _ code: String = "offline") {
        effects.append(.hangUp)
        dropped(reason, code: code)
    }

    private mutating func ping() {
        liveness.pinged(at: now)
        send(Array(#"{"type":"ping","id":"ping"}"#.utf8), as: "ping")
    }

    mutating func pong(_ serverTime: Int64?) {
        answered("ping")
        guard let pong = liveness.ponged(at: now), let serverTime else { return }
        edges.measured(edge, pong.roundTrip)
        if pong.isGood { adjustOffset(Double(serverTime) + pong.roundTrip / 2) }
    }

    /// How long ago what the replica holds was certainly the latest; infinity if it never was.
    var age: Double { now - (state == .live ? liveness.lastHeard : lastLive) }
}
