import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// What the patterns of a connection may cost together (``Filter/matchingCost``): 0.1 ms for a key of the greatest length.
    private static let maximumMatchingCost = 2_048

    mutating func subscribe(_ request: ClientMessage.Subscribe, of state: ConnectionState, _ turn: Turn) {
        let id = state.id
        if let error = check(request, of: state, head: turn.head) { return refuse(error, of: id) }
        let filter = Filter(request.pattern, within: state.grant.read)
        let cost = filter.matchingCost
        guard cost == 0 || state.matchingCost + cost <= Self.maximumMatchingCost else {
            return refuse(
                WireError(
                    .tooManySubscriptions,
                    "the patterns of this connection would cost too much for each key that is written: of those that are like this "
                        + "one, a connection may have \(Self.maximumMatchingCost / cost)",
                    hint: "one wider pattern can stand for many", id: request.id), of: id)
        }
        let start = start(of: request, filter, isBackedUp: state.isBackedUp)
        let subscriptionID = makeSubscription(request, filter, of: state, start: start, cost: cost)
        let cursor = Cursor(epoch: epoch, revision: delivered, digest: filter.digest)
        reply(to: id) {
            ServerMessage.writeSubscribed(
                id: request.id, pattern: request.pattern, cursor: cursor, replace: start.replaces, to: &$0)
        }
        if start.state == .live {
            goLive(subscriptionID)
            sync(subscriptionID)
        } else {
            state.catchingUp.append(subscriptionID)
            counters.subscriptionsCatchingUp += 1
            readNextPage(of: state)
        }
    }

    private func check(
        _ request: ClientMessage.Subscribe, of state: ConnectionState, head: Revision
    ) -> WireError? {
        if state.subscriptions[request.id] != nil {
            return WireError(
                .duplicateSubscription, "this connection has a subscription \(request.id) already",
                hint: "unsubscribe first, or choose another id", id: request.id)
        }
        if state.subscriptions.count >= configuration.welcome.limits.subscriptions {
            return WireError(
                .tooManySubscriptions,
                "this connection has \(state.subscriptions.count) subscriptions; that is the limit",
                hint: "one pattern with wildcards can stand for many", id: request.id)
        }
        guard let since = request.since, since.epoch == epoch else { return nil }
        if since.revision < collectedRevision {
            return WireError(
                .resyncRequired,
                "cursor \(since.revision) is from before deletes that this server has forgotten (up to \(collectedRevision))",
                hint: "subscribe without \"since\"; the snapshot replaces what you hold", id: request.id)
        }
        if since.revision > max(head, delivered) {
            return WireError(
                .resyncRequired, "cursor \(since.revision) is ahead of this database (\(max(head, delivered)))",
                hint: "subscribe without \"since\"; the snapshot replaces what you hold", id: request.id)
        }
        return nil
    }

    private struct Start {
        var state: Subscription.State
        var position: Revision
        /// Whether a cursor was given that cannot be used.
        var replaces = false
    }

    private func start(of request: ClientMessage.Subscribe, _ filter: Filter, isBackedUp: Bool) -> Start {
        if let since = request.since {
            let isBound = since.digest == nil || since.digest == filter.digest
            if since.epoch != epoch || !isBound {
                var fresh = freshStart
                fresh.replaces = true
                return fresh
            }
            if let lastKey = since.lastKey {
                return Start(state: .snapshot(after: lastKey, base: since.revision), position: 0)
            }
            return Start(state: .catchingUp, position: since.revision)
        }
        if !request.wantsSnapshot {
            return Start(state: isBackedUp ? .catchingUp : .live, position: delivered)
        }
        return freshStart
    }

    private var freshStart: Start { Start(state: .snapshot(after: nil, base: delivered), position: 0) }

    private mutating func makeSubscription(
        _ request: ClientMessage.Subscribe, _ filter: Filter, of state: ConnectionState, start: Start, cost: Int
    ) -> SubscriptionID {
        let generation = makeGeneration()
        let subscription = Subscription(
            request, filter, of: state.id, generation: generation, start: start.state, position: start.position,
            syncTarget: delivered, patternID: fanout.add(filter), matchingCost: cost)
        let subscriptionID = SubscriptionID(slot: subscriptions.insert(subscription), generation: generation)
        state.subscriptions[request.id] = subscriptionID
        state.matchingCost += cost
        state.unsynced += 1
        if !request.wantsEcho { state.silent += 1 }
        return subscriptionID
    }

    mutating func unsubscribe(_ requestID: RequestID, of state: ConnectionState) {
        let isWaiting = state.waitingCalls.contains(requestID)
        if isWaiting { withdrawCalls(requestID, isAnswered: true, of: state.id) }
        guard let subscriptionID = state.subscriptions[requestID] else {
            if isWaiting { return }
            return refuse(
                WireError(
                    .unknownSubscription, "this connection has no subscription \(requestID)", id: requestID),
                of: state.id)
        }
        end(subscriptionID)
        reply(to: state.id) { ServerMessage.writeUnsubscribed(id: requestID, to: &$0) }
    }

    /// Takes a subscription out of everything that knows it.
    mutating func end(_ id: SubscriptionID) {
        let subscription = subscriptions[id.slot]
        let state = connections[subscription.connection.slot]
        assert(subscription.generation == id.generation && state.id == subscription.connection)
        if subscription.isLive {
            fanout.leaveLive(subscription.patternID, state.id.slot)
            counters.subscriptionsLive -= 1
        } else {
            state.hasCaughtUp(id)
            counters.subscriptionsCatchingUp -= 1
        }
        if let demotion = subscription.demotion {
            _ = fanout.promoted(subscription.patternID, since: demotion.matched)
        }
        fanout.remove(subscription.patternID)
        subscriptions.remove(id.slot)
        state.subscriptions[subscription.id] = nil
        state.matchingCost -= Int(subscription.matchingCost)
        if subscription.isUnsynced { state.unsynced -= 1 }
        if !subscription.wantsEcho { state.silent -= 1 }
        assert(state.matchingCost >= 0 && state.unsynced >= 0 && state.silent >= 0)
        assert(counters.subscriptionsLive >= 0 && counters.subscriptionsCatchingUp >= 0)
    }

    /// From the next commit on, the subscription gets what is committed.
    ///
    /// - Returns: what there is to be known of it, if it was behind by being slow.
    @discardableResult
    mutating func goLive(_ id: SubscriptionID) -> Subscription.Demotion? {
        let demotion = subscriptions[id.slot].becameLive(at: delivered)
        let subscription = subscriptions[id.slot]
        fanout.goLive(subscription.patternID, subscription.connection.slot)
        counters.subscriptionsLive += 1
        return demotion
    }

    /// Sends `synced` when the subscription has passed what there was when it was made: once, whether or not it is live.
    mutating func sync(_ id: SubscriptionID) {
        guard subscriptions[id.slot].takeSynced() else { return }
        let subscription = subscriptions[id.slot]
        connections[subscription.connection.slot].unsynced -= 1
        let cursor = subscription.cursor(epoch: epoch, delivered: delivered)
        reply(to: subscription.connection) {
            ServerMessage.writeSynced(id: subscription.id, cursor: cursor, count: subscription.count, to: &$0)
        }
    }

    /// Tells live subscriptions that asked for it how far they have got, also where nothing matched. To be called now
    /// and then.
    package mutating func noticeCursors() {
        for slot in Array(subscriptions.slots) {
            guard subscriptions[slot].takeNotice(at: delivered) else { continue }
            let subscription = subscriptions[slot]
            let cursor = subscription.cursor(epoch: epoch, delivered: delivered)
            var frames = ByteBuffer()
            configuration.framing(&frames) {
                ServerMessage.writeCursorNotice(id: subscription.id, cursor: cursor, to: &$0)
            }
            // Where updates before it are dropped it would be a lie: it goes with them.
            deliveries.append(
                Delivery(frames: frames, slots: [subscription.connection.slot], before: delivered))
        }
    }
}
