import Registers
package import SyncProtocol

/// What a client is to be told of: URIs, each of which is a subscription of one connection, however many keys it yields.
package struct ResourceSubscriptions: Sendable {
    /// How many URIs there may be at once: with the keys of patterns that are named, fewer than a client keeps.
    package static let maximumCount = 512
    /// The ids of what tells that the list of resources has changed.
    private static let listPatterns = ["list-memory": "memory:*", "list-swarm": "swarm:*:config"]

    /// What a URI stands for.
    private struct Subscription: Sendable {
        var uri: String
        var pattern: Pattern
        /// The text of a pattern without wildcards; nil: it has some.
        var key: String?
        /// Whether each key is told of by its own URI.
        var namesKeys: Bool
        var state = State.asked

        enum State { case asked, honoured }
    }

    private var subscriptions: [String: Subscription] = [:]
    /// Ids of those that are about one key.
    private var byKey: [String: [String]] = [:]
    /// Ids of all others, in their order.
    private var others: [String] = []
    private var queue = UpdateQueue()
    private var lastID = 0
    /// The ids that are not answered yet.
    private var unanswered: Set<String> = []
    private var listsChanges = false
    /// Which of its patterns may not be read.
    private var refusedLists: Set<String> = []

    package init() {}

    package var count: Int { subscriptions.count }
    /// Whether all that was asked is answered.
    package var isSettled: Bool { unanswered.isEmpty }
    package var hasUpdates: Bool { !queue.isEmpty }
    /// Whether it is told that the list of resources has changed.
    package var tellsOfList: Bool { listsChanges }

    /// The URIs that are subscribed to, in no order.
    package var uris: [String] { subscriptions.values.map(\.uri) }
    /// Those of them that the server has taken.
    package var honoured: Set<String> {
        Set(subscriptions.values.filter { $0.state == .honoured }.map(\.uri))
    }

    private func id(of uri: String) -> String? { subscriptions.first { $0.value.uri == uri }?.key }

    /// Subscribes to a resource.
    ///
    /// - Returns: what is to be sent, and the id under which it is answered; nil where it is subscribed to already.
    /// - Throws: ``ToolFailure`` where there is no such resource, or there are too many.
    package mutating func add(_ uri: String) throws(ToolFailure) -> (id: String, message: SyncMessage)? {
        guard id(of: uri) == nil else { return nil }
        guard let resource = ResourceURI(uri) else {
            throw .argument("there is no resource \(uri)", hint: "resources/templates/list has what there is")
        }
        guard subscriptions.count < Self.maximumCount else {
            throw ToolFailure(
                .tooManySubscriptions, "\(Self.maximumCount) resources are subscribed to already",
                hint: "one starling://keys/<pattern> can stand for many")
        }
        let (text, namesKeys) = try Self.pattern(of: resource)
        guard let pattern = try? Pattern(text) else { throw .argument("\(text) is no pattern") }
        lastID += 1
        let id = "r\(lastID)"
        var key: String?
        if case .key(let name) = resource { key = name }
        subscriptions[id] = Subscription(uri: uri, pattern: pattern, key: key, namesKeys: namesKeys)
        if let key { byKey[key, default: []].append(id) } else { others.append(id) }
        return (id, ask(id, text))
    }

    /// Has changes of the list of resources told of.
    package mutating func addList() -> [SyncMessage] {
        guard !listsChanges else { return [] }
        listsChanges = true
        return Self.listPatterns.sorted { $0.key < $1.key }.map { id, pattern in ask(id, pattern) }
    }

    /// What is to be sent on a new connection that takes the place of the one there was. What changed in between nobody knows: all is told of.
    package mutating func renewed() -> [SyncMessage] {
        noteAll()
        let lists = listsChanges ? Self.listPatterns.sorted { $0.key < $1.key }.map { ask($0.key, $0.value) } : []
        return subscriptions.sorted { $0.key < $1.key }.map { ask($0.key, "\($0.value.pattern)") } + lists
    }

    private mutating func ask(_ id: String, _ pattern: String) -> SyncMessage {
        unanswered.insert(id)
        var message = SyncMessage("subscribe")
        message.add("id", id)
        message.add("pattern", pattern)
        // What is there already the client reads when it wants to.
        message.add("snapshot", false)
        return message
    }

    /// Tells of a resource no longer.
    ///
    /// - Returns: what is to be sent; nil where it was not subscribed to.
    package mutating func remove(_ uri: String) -> SyncMessage? {
        guard let id = id(of: uri) else { return nil }
        forget(id)
        queue.remove(uri)
        var message = SyncMessage("unsubscribe")
        message.add("id", id)
        return message
    }

    private mutating func forget(_ id: String) {
        guard let subscription = subscriptions.removeValue(forKey: id) else { return }
        unanswered.remove(id)
        others.removeAll { $0 == id }
        guard let key = subscription.key else { return }
        byKey[key]?.removeAll { $0 == id }
        if byKey[key]?.isEmpty == true { byKey[key] = nil }
    }

    /// The pattern of what a resource is made of.
    private static func pattern(of resource: ResourceURI) throws(ToolFailure) -> (text: String, namesKeys: Bool) {
        switch resource {
        case .key(let key): (SwarmPattern.literal(key), false)
        case .keys(let pattern): (pattern, true)
        case .pattern(let pattern): (pattern, false)
        case .memory(let agent, let key):
            (
                "memory:"
                    + SwarmPattern.literal(
                        String(decoding: try SwarmPattern.segment(agent).escaped, as: UTF8.self) + ":" + key), false
            )
        case .knowledge(let id):
            (
                "knowledge:"
                    + SwarmPattern.literal(
                        String(decoding: try SwarmPattern.segment(id).escaped, as: UTF8.self)), false
            )
        case .swarm(let swarm, .status): (try SwarmPattern.of(swarm, "*"), false)
        case .swarm(let swarm, .ready), .swarm(let swarm, .blocked): (try SwarmPattern.of(swarm, "task:*"), false)
        case .task(let swarm, let task): (SwarmPattern.literal(try SwarmPattern.task(swarm, task)) + "*", false)
        case .inbox(let swarm, let agent): (try SwarmPattern.inbox(swarm, agent), false)
        }
    }

    // MARK: What comes

    /// An answer to a subscription.
    package enum Answer: Sendable {
        case honoured(id: String)
        case refused(id: String, Refusal)
    }

    /// Takes a message of the connection.
    ///
    /// - Parameter now: in milliseconds of any clock that does not go back.
    /// - Returns: where it answers a subscription, which and how.
    package mutating func take(_ message: JSONObject, now: UInt64) -> Answer? {
        let id = message.string("id")
        switch (message.string("type"), id) {
        case ("update", _):
            if let key = message.string("key") { note(key, now: now) }
            return nil
        case ("subscribed", let id?):
            guard unanswered.remove(id) != nil else { return nil }
            subscriptions[id]?.state = .honoured
            return .honoured(id: id)
        case ("error", let id?):
            guard unanswered.remove(id) != nil, let refusal = Refusal(message) else { return nil }
            forget(id)
            if Self.listPatterns[id] != nil {
                refusedLists.insert(id)
                listsChanges = refusedLists.count < Self.listPatterns.count
            }
            return .refused(id: id, refusal)
        default: return nil
        }
    }

    private mutating func note(_ name: String, now: UInt64) {
        guard let key = try? Key(name) else { return }
        for id in byKey[name] ?? [] {
            if let subscription = subscriptions[id] { queue.add(subscription.uri) }
        }
        for id in others {
            guard let subscription = subscriptions[id], subscription.pattern.matches(key) else { continue }
            if subscription.namesKeys {
                queue.add(key: ResourceURI.of(key: name), of: subscription.uri, now: now)
            } else if Self.concerns(name, subscription.uri) {
                queue.add(subscription.uri)
            }
        }
        let isListed = name.hasPrefix("memory:") || name.hasPrefix("swarm:") && name.hasSuffix(":config")
        if listsChanges, isListed { queue.listHasChanged = true }
    }

    /// Whether a key that matches the pattern of a task is that task's: `7` matches `71` too.
    private static func concerns(_ name: String, _ uri: String) -> Bool {
        guard case .task(let swarm, let task)? = ResourceURI(uri), let row = try? SwarmPattern.task(swarm, task) else {
            return true
        }
        return name == row || name.hasPrefix(row + ":")
    }

    /// Has all resources told of: nobody knows what was missed.
    package mutating func noteAll() {
        for subscription in subscriptions.values { queue.add(subscription.uri) }
        if listsChanges { queue.listHasChanged = true }
    }

    /// Takes the notifications that are due, each a message.
    ///
    /// - Parameter subscription: the id of the request that they belong to; nil: they belong to the MCP session.
    package mutating func notifications(_ subscription: RPCID?) -> [[UInt8]] {
        let (uris, listHasChanged) = queue.take()
        var notifications = uris.map { Notification.updated($0, subscription) }
        if listHasChanged { notifications.append(Notification.listChanged(subscription)) }
        return notifications
    }
}
