import Registers
import SyncProtocol

/// Who is told of what, and what is to be seen of a key.
extension Engine {
    /// Adds a subscription.
    ///
    /// - Returns: its id.
    mutating func subscribe(_ pattern: Pattern, snapshot: Bool = true, echo: Bool = true) -> Int {
        let id = nextSubscription
        nextSubscription += 1
        subscriptions[id] = SubscriptionState(id: id, pattern: pattern, snapshot: snapshot, echo: echo)
        for write in outbox.all where pattern.matches(write.held.register.key) {
            touch(write.held.register.key, in: id, cause: nil)
        }
        if canSend { sendSubscribe(id) }
        updateState()
        return id
    }

    mutating func sendSubscribe(_ id: Int) {
        guard let subscription = subscriptions[id] else { return }
        subscriptions[id]?.retryAt = .infinity
        send(subscription.request, as: subscription.wireID)
    }

    mutating func unsubscribe(_ id: Int) {
        guard subscriptions[id] != nil else { return }
        end(id, nil)
        if canSend {
            var message = Message("unsubscribe")
            message.add("id", "s\(id)")
            send(message.bytes, as: "s\(id)")
        }
        updateState()
    }

    mutating func end(_ id: Int, _ error: StarlingError?) {
        subscriptions[id] = nil
        effects.append(.ended(subscription: id, error))
    }

    private func subscription(_ message: JSONObject) -> Int? {
        guard let id = message.string("id"), id.hasPrefix("s"), let number = Int(id.dropFirst()),
            subscriptions[number] != nil
        else { return nil }
        return number
    }

    mutating func changeSubscription(_ message: JSONObject, _ body: (inout SubscriptionState) -> Void) {
        guard let id = subscription(message) else { return }
        body(&subscriptions[id]!)
    }

    mutating func synced(_ message: JSONObject) {
        guard let id = subscription(message) else { return }
        let outbox = outbox
        let tells = told(by: id)
        let changes = subscriptions[id]?.replica.synced({ outbox.newest($0) }, tells: tells) ?? []
        subscriptions[id]?.isSynced = true
        subscriptions[id]?.mustReplace = false
        for change in changes { tell(id, change) }
        reached(message)
        effects.append(.synced(subscription: id))
        updateState()
    }

    /// The server has told everything up to a cursor.
    mutating func reached(_ message: JSONObject) {
        guard let id = subscription(message), let cursor = message.string("cursor") else { return }
        let outbox = outbox
        subscriptions[id]?.cursor = cursor
        // While catching up, pages come in an order of their own.
        guard subscriptions[id]?.isSynced == true else { return }
        subscriptions[id]?.replica.cursorPassed { outbox.newest($0) }
    }

    mutating func update(_ message: JSONObject) {
        guard let held = message.held() else {
            effects.append(.log(.error, "the server sent an update that is none"))
            return
        }
        if message.bool("transient") == true {
            for (id, subscription) in subscriptions where subscription.pattern.matches(held.register.key) {
                let update = Update(held, isTransient: true)
                effects.append(.tell(subscription: id, slot: .transient(update.key), update))
            }
            return
        }
        learn(held.register.version)
        confirm(held)
    }

    /// The subscriptions that a key matches. (An array of ids: changing one while going through the dictionary would copy
    /// its replica.)
    private func matching(_ key: Key) -> [Int] {
        subscriptions.compactMap { $0.value.pattern.matches(key) ? $0.key : nil }
    }

    /// Takes a register that is in the database into the replicas.
    mutating func confirm(_ held: Held) {
        let pending = outbox.newest(held.register.key)
        for id in matching(held.register.key) {
            let tells = told(by: id)
            if let change = subscriptions[id]?.replica.apply(held, pending: pending, tells: tells) { tell(id, change) }
        }
    }

    /// A write of ours to a key was made, or is over.
    mutating func touch(_ key: Key, cause: String? = nil) {
        for id in matching(key) { touch(key, in: id, cause: cause) }
    }

    private mutating func touch(_ key: Key, in id: Int, cause: String?) {
        let pending = outbox.newest(key)
        let tells = told(by: id)
        if let change = subscriptions[id]?.replica.touch(key, pending: pending, cause: cause, tells: tells) {
            tell(id, change)
        }
    }

    /// Which registers a subscription's user is told of.
    private func told(by id: Int) -> (Held) -> Bool {
        guard subscriptions[id]?.echo == false else { return { _ in true } }
        let ownVersions = ownVersions
        // What time has made of an own write is told.
        return { $0.register.cause != nil || !($0.isOwn || ownVersions.contains($0.register.version)) }
    }

    private mutating func tell(_ id: Int, _ change: Replica.Change) {
        guard let held = change.held else {
            let update = Update(gone: change.key, cause: change.cause)
            effects.append(.tell(subscription: id, slot: .register(update.key), update))
            return
        }
        let update = Update(held, isPending: change.isPending, cause: change.cause)
        effects.append(.tell(subscription: id, slot: .register(update.key), update))
    }

    /// What the server has against a subscription.
    mutating func subscriptionRefused(_ wireID: String, _ message: JSONObject) {
        let error = StarlingError(message)
        guard let id = subscription(message), let subscription = subscriptions[id] else {
            effects.append(.log(.warning, "\(error.code): \(error)"))
            return
        }
        if error.code == "resync_required" {
            subscriptions[id]?.startAnew()
            sendSubscribe(id)
        } else if message.bool("retry") == true {
            let pause = Double(message.integer("retry_after_ms") ?? 0) + options.random() * 2_000
            let retryAt = now + pause
            subscriptions[id]?.retryAt = retryAt
        } else if error.code != "unknown_subscription" {
            let pattern = String(decoding: subscription.pattern.text, as: UTF8.self)
            effects.append(.log(.error, "cannot subscribe to \(pattern): \(error)"))
            end(id, error)
        }
        updateState()
    }

    /// The greatest register that any subscription, or a write on its way, has for a key; nil where reads see none.
    func read(_ key: Key) -> (held: Held, isPending: Bool)? {
        var best = outbox.newest(key)
        var isPending = best != nil
        for subscription in subscriptions.values where subscription.pattern.matches(key) {
            guard let other = subscription.replica.get(key),
                Register.merge(other.register, into: best?.register) == .applied
            else { continue }
            best = other
            isPending = false
        }
        guard let best, best.register.isVisible(at: serverTime) else { return nil }
        return (best, isPending)
    }

    /// What the replica has of a pattern, by key.
    func list(_ pattern: Pattern) -> [(held: Held, isPending: Bool)] {
        var keys: Set<Key> = []
        for subscription in subscriptions.values {
            for held in subscription.replica.list(at: 0) where pattern.matches(held.register.key) {
                keys.insert(held.register.key)
            }
        }
        return keys.sorted().compactMap { read($0) }
    }
}
