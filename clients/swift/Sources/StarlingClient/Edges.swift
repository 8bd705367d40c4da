/// The servers that a client may use, what is known of them, and which one is next.
///
/// Each has a circuit breaker: closed while all is well; open after a failure, for a time that doubles with each further one, drawn at
/// random from 0 up ("full jitter", so that a thousand clients do not come back at once); half-open after that, when one attempt is made.
/// Times are in milliseconds.
struct Edges: Sendable {
    private struct Edge {
        let url: String
        var roundTrip: Double?
        var failures = 0
        var openUntil = 0.0
    }

    /// The weight of the newest round trip in the average (RFC 6298, section 2, has 1/8 too).
    private static let smoothing = 1.0 / 8
    private static let firstDelay = 250.0
    private static let longestDelay = 30_000.0

    private var edges: [Edge]

    /// - Parameter urls: in the order in which they are tried as long as nothing is known of them.
    init(_ urls: [String]) {
        edges = urls.map { Edge(url: $0) }
    }

    var count: Int { edges.count }

    /// When the next edge may be tried.
    var nextAttempt: Double { edges.map(\.openUntil).min() ?? .infinity }

    /// The nearest edge that may be tried now; nil while all breakers are open.
    func choose(at now: Double) -> String? {
        // Those that never failed come first: an edge that is half-open is tried when there is nothing better.
        edges.filter { $0.openUntil <= now }.min {
            ($0.failures > 0 ? 1 : 0, $0.roundTrip ?? 0) < ($1.failures > 0 ? 1 : 0, $1.roundTrip ?? 0)
        }?.url
    }

    private mutating func change(_ url: String, _ body: (inout Edge) -> Void) {
        guard let index = edges.firstIndex(where: { $0.url == url }) else { return }
        body(&edges[index])
    }

    /// Takes note of a round trip.
    mutating func measured(_ url: String, _ roundTrip: Double) {
        change(url) { edge in
            edge.roundTrip = edge.roundTrip.map { $0 + (roundTrip - $0) * Self.smoothing } ?? roundTrip
        }
    }

    /// Closes the breaker of an edge that works.
    mutating func succeeded(_ url: String) {
        change(url) { edge in
            edge.failures = 0
            edge.openUntil = 0
        }
    }

    /// Opens the breaker of an edge for a while.
    ///
    /// - Parameters:
    ///   - atLeast: for how long at least.
    ///   - random: from 0 up to 1.
    mutating func failed(_ url: String, at now: Double, atLeast: Double = 0, random: Double) {
        change(url) { edge in
            let longest = min(Self.longestDelay, Self.firstDelay * Double(1 << min(edge.failures, 20)))
            edge.failures += 1
            // What the server asks for is spread too: it asks everybody for the same.
            edge.openUntil = now + atLeast + random * longest
        }
    }

    /// Half-opens all breakers: there is a reason to try again now.
    mutating func forgive() {
        for index in edges.indices { edges[index].openUntil = 0 }
    }

    /// The edges beside the one in use that may be measured now.
    func others(than url: String, at now: Double) -> [String] {
        edges.filter { $0.url != url && $0.openUntil <= now }.map(\.url)
    }

    /// An edge that is so much nearer than the one in use that it is worth to move.
    func better(than url: String, at now: Double) -> String? {
        guard let current = edges.first(where: { $0.url == url })?.roundTrip else { return nil }
        let measured = edges.filter { $0.url != url && $0.openUntil <= now && $0.roundTrip != nil && $0.failures == 0 }
        guard let nearest = measured.min(by: { $0.roundTrip ?? 0 < $1.roundTrip ?? 0 }),
            let roundTrip = nearest.roundTrip
        else { return nil }
        // A move costs a catch-up, so noise is no reason for one.
        return roundTrip * 1.5 + 2 < current ? nearest.url : nil
    }

    func describe(at now: Double) -> [EdgeStatus] {
        edges.map { edge in
            let breaker: EdgeStatus.Breaker = edge.failures == 0 ? .closed : edge.openUntil > now ? .open : .halfOpen
            return EdgeStatus(url: edge.url, roundTrip: edge.roundTrip.map { .milliseconds($0) }, breaker: breaker)
        }
    }
}

/// What is known of one of the servers that a client may use.
public struct EdgeStatus: Sendable {
    /// The state of a circuit breaker.
    public enum Breaker: Sendable {
        case closed, open, halfOpen
    }

    /// Where it is.
    public let url: String
    /// The smoothed round trip of a ping; nil before it was measured.
    public let roundTrip: Duration?
    /// Whether it may be tried.
    public let breaker: Breaker
}
