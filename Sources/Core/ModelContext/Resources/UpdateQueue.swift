/// URIs that a client is to be told of, each once. A client keeps what it has not looked at yet, and gives a stream up that fills its
/// memory (Python's at 1,024): so of the keys of a pattern only some are named one by one, and beyond them the pattern is.
struct UpdateQueue: Sendable {
    /// How many keys of patterns are named within ``window``.
    static let maximumNamed = 256
    /// In milliseconds.
    static let window: UInt64 = 60_000

    /// Whether a list of resources has changed, too.
    var listHasChanged = false
    private var order: [String] = []
    private var waiting: Set<String> = []
    /// The keys of patterns that were named lately, with when first, and in that order.
    private var named: [String: UInt64] = [:]
    private var namedOrder: [String] = []
    /// The keys of patterns that wait, with the pattern of each: there are no more of them either.
    private var waitingKeys: [String: String] = [:]

    var isEmpty: Bool { order.isEmpty && !listHasChanged }

    /// Adds what was subscribed to by its own URI.
    mutating func add(_ uri: String) {
        waitingKeys[uri] = nil
        if waiting.insert(uri).inserted { order.append(uri) }
    }

    /// Adds a key of a pattern, or the pattern where too many keys were named.
    ///
    /// - Parameter now: in milliseconds of any clock that does not go back.
    mutating func add(key uri: String, of pattern: String, now: UInt64) {
        guard !waiting.contains(uri) else { return }
        guard waitingKeys.count < Self.maximumNamed else { return add(pattern) }
        if named[uri] == nil {
            while let oldest = namedOrder.first, let time = named[oldest], time + Self.window <= now {
                namedOrder.removeFirst()
                named[oldest] = nil
            }
            guard named.count < Self.maximumNamed else { return add(pattern) }
            named[uri] = now
            namedOrder.append(uri)
        }
        add(uri)
        waitingKeys[uri] = pattern
    }

    /// Takes all.
    mutating func take() -> (uris: [String], listHasChanged: Bool) {
        defer {
            order = []
            waiting = []
            waitingKeys = [:]
            listHasChanged = false
        }
        return (order, listHasChanged)
    }

    /// Forgets a URI that nobody wants to be told of any more.
    mutating func remove(_ uri: String) {
        let keys = Set(waitingKeys.filter { $0.value == uri }.map(\.key)).union([uri])
        for key in keys { waitingKeys[key] = nil }
        waiting.subtract(keys)
        order.removeAll { keys.contains($0) }
    }
}
