/// Whether the server is still there: by pings, and by whatever else it sends. Times are in milliseconds of a clock that
/// nobody sets.
struct Liveness: Sendable {
    enum Verdict {
        case ping, leave
    }

    /// A round trip longer than this says nothing about the difference of clocks.
    private static let goodRoundTrip = 1_000.0
    /// A timer that fires this late was kept waiting by this process, and answers may lie unread.
    private static let late = 1_000.0

    private let interval: Double
    private let timeout: Double
    private var pingSentAt: Double?
    private var lastPing = -Double.infinity
    var lastHeard = -Double.infinity

    init(interval: Double, timeout: Double) {
        self.interval = interval
        self.timeout = timeout
    }

    mutating func disconnected() { pingSentAt = nil }

    mutating func pinged(at now: Double) {
        pingSentAt = now
        lastPing = now
    }

    /// - Returns: the round trip, where this answers a ping; and whether it is good enough to set a clock by.
    mutating func ponged(at now: Double) -> (roundTrip: Double, isGood: Bool)? {
        guard let sentAt = pingSentAt else { return nil }
        pingSentAt = nil
        return (now - sentAt, now - sentAt <= Self.goodRoundTrip)
    }

    var deadline: Double {
        // Who is busy sending is alive, though its pong waits behind that.
        pingSentAt.map { max($0, lastHeard) + timeout } ?? lastPing + interval
    }

    /// What is to be done.
    func tick(at now: Double) -> Verdict? {
        guard now >= deadline else { return nil }
        return pingSentAt == nil || now > deadline + Self.late ? .ping : .leave
    }
}
