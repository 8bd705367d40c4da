import HTTPTypes
import Hummingbird
import Transport

/// A way in to the server, or to what it says of itself: the routes that it answers, the protocols that it speaks over WebSocket, and the
/// metrics that it adds. The server is given a list of them, and knows nothing else of one.
///
/// Whoever comes in by it is a connection of a shard: ``HTTPContext/session``, or one of its own from `InProcessConnections`.
protocol API: Sendable {
    /// What there is, for 405, preflights, and what is kept of bodies.
    var routes: [Route] { get }
    /// Adds the handlers of its routes.
    func add(to router: Router<HTTPContext>)
    var upgrades: [Upgrade] { get }
    var metrics: [any MetricsSource] { get }
}

extension API {
    var upgrades: [Upgrade] { [] }
    var metrics: [any MetricsSource] { [] }
}

/// A path, and what it may be asked for.
struct Route: Sendable {
    /// What a path ends in whose rest, slashes too, is a key.
    private static let keyPlace = "{key}"

    /// As the OpenAPI document has it.
    let path: String
    let methods: [HTTPRequest.Method]
    /// The greatest size of a body, in bytes; nil: that of a message.
    var maximumBody: Int?
    /// What is answered where a body cannot be taken, with 200: for callers that are not to stumble; nil: an error.
    var fallback: Fallback?

    struct Fallback: Sendable {
        let body: String
        /// Has the code of what is wrong.
        let header: String
        /// Is told that code each time.
        let note: @Sendable (String) -> Void
    }

    func matches(_ path: Substring) -> Bool {
        guard self.path.contains("{") else { return path == self.path }
        guard self.path.hasSuffix(Self.keyPlace) else { return matchesSegments(path) }
        let start = self.path.dropLast(Self.keyPlace.count + 1).split(separator: "/", omittingEmptySubsequences: false)
        let there = path.split(separator: "/", maxSplits: start.count, omittingEmptySubsequences: false)
        guard there.count == start.count + 1, there[start.count].isEmpty == false else { return false }
        return zip(start, there).allSatisfy { $0.hasPrefix("{") ? !$1.isEmpty : $0 == $1 }
    }
}

extension Route {
    /// Whether each segment is the same, or stands where any may.
    private func matchesSegments(_ path: Substring) -> Bool {
        let wanted = self.path.split(separator: "/", omittingEmptySubsequences: false)
        let there = path.split(separator: "/", omittingEmptySubsequences: false)
        guard wanted.count == there.count else { return false }
        return zip(wanted, there).allSatisfy { $0.hasPrefix("{") ? !$1.isEmpty : $0 == $1 }
    }
}

/// The routes of all APIs.
struct RouteTable: Sendable {
    private let routes: [Route]

    init(_ apis: [any API]) {
        routes = apis.flatMap(\.routes)
    }

    /// What a path may be asked for; nil: there is no such path.
    func methods(for path: Substring) -> [HTTPRequest.Method]? {
        guard let route = routes.first(where: { $0.matches(path) }) else { return nil }
        return route.methods.flatMap { $0 == .get ? [.get, .head] : [$0] } + [.options]
    }

    /// The route of a target.
    func route(of target: String) -> Route? {
        let path = target.prefix { $0 != "?" }
        return routes.first { $0.matches(path) }
    }

    /// Whether a route wants the bodies that come with requests for a target.
    func takesBody(_ target: String) -> Bool {
        route(of: target)?.methods.contains { [.put, .post, .patch].contains($0) } ?? false
    }
}
