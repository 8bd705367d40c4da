import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// What the patterns of a connection may cost together (``Filter/matchingCost``): 0.1 ms for a key of the greatest length.
    private static let maximumMatchingCost = 2_048

    mutating func subscribe(_ request: ClientMessage.Subscribe, of id: ConnectionID, head: UInt64) {
        guard let state = connection(id) else { return }
        if let error = check(request, of: state, head: head) { return refuse(error, of: id) }
        let filter = Filter(request.pattern, within: state.grant.read)
        let cost = filter.matchingCost
        guard cost == 0 || state.matchingCost + cost <= Self.maximumMatchingCost else {
            return refuse(
                WireError(
                    .tooManySubscriptions,
                    "the patterns of this connection would cost too much for each key that is written: those with '?', or with "
                        + "'*' or '**' that is neither a whole segment nor the beginning or the end, are tried one by one, and a "
                        + "connection may have \(Self.maximumMatchingCost / 8) of them",
                    hint: "one wider pattern can stand for many", id: request.id), of: id)
        }
        let start = start(of: request, filter, isBackedUp: state.isBackedUp)
        let subscriptionID = makeSubscription(request, filter, of: id, start: start, cost: cost)
        let cursor = Cursor(epoch: epoch, revision: delivered, digest: filter.digest)
        reply(to: id) {
            ServerMessage.writeSubscribed(
                id: request.id, pattern: request.pattern, cursor: cursor, replace: start.replaces, to: &$0)
        }
        if start.state == .live {
            goLive(subscriptionID)
            sync(subscriptionID)
        } else {
            connections[Int(id.slot)]?.catchingUp.append(subscriptionID)
            counters.subscriptionsCatchingUp += 1
            readNextPage(of: id)
        }
    }

    private func check(
        _ request: ClientMessage.Subscribe, of state: ConnectionState, head: UInt64
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
        var position: UInt64
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
        _ request: ClientMessage.Subscribe, _ filter: Filter, of id: ConnectionID, start: Start, cost: Int
    ) -> SubscriptionID {
        nextGeneration &+= 1
        let slot: Int32
        if let reused = freeSubscriptions.popLast() {
            slot = reused
        } else {
            slot = Int32(subscriptions.count)
            subscriptions.append(nil)
        }
        let subscriptionID = SubscriptionID(slot: slot, generation: nextGeneration)
        let patternID = index.retain(filter)
        while matched.count <= Int(patternID) { matched.append(0) }
        subscriptions[Int(slot)] = Subscription(
            id: request.id, connection: id, filter: filter, state: start.state, wantsEcho: request.wantsEcho,
            wantsCursors: request.wantsCursors, wantsConflated: request.wantsConflated, generation: nextGeneration,
            position: start.position, syncTarget: delivered, patternID: patternID, matchingCost: Int32(cost))
        if case .snapshot(let after, _) = start.state {
            subscriptions[Int(slot)]?.lag = .snapshot(SnapshotCoverage(after: after))
        }
        connections[Int(id.slot)]?.matchingCost += cost
        connections[Int(id.slot)]?.subscriptions[request.id] = subscriptionID
        connections[Int(id.slot)]?.unsynced += 1
        if !request.wantsEcho { connections[Int(id.slot)]?.hasSilentSubscription = true }
        return subscriptionID
    }

    mutating func unsubscribe(_ requestID: RequestID, of id: ConnectionID) {
        guard let subscriptionID = connection(id)?.subscriptions[requestID] else {
            return refuse(
                WireError(
                    .unknownSubscription, "this connection has no subscription \(requestID)", id: requestID), of: id)
        }
        end(subscriptionID)
        reply(to: id) { ServerMessage.writeUnsubscribed(id: requestID, to: &$0) }
    }

    /// Takes a subscription out of everything that knows it.
    mutating func end(_ subscriptionID: SubscriptionID) {
        guard let subscription = subscription(subscriptionID) else { return }
        let slot = Int(subscription.connection.slot)
        if subscription.state == .live {
            leaveLive(subscription)
            counters.subscriptionsLive -= 1
        } else {
            counters.subscriptionsCatchingUp -= 1
        }
        if subscription.demotion != nil { demotedCount -= 1 }
        index.release(subscription.patternID)
        connections[slot]?.matchingCost -= Int(subscription.matchingCost)
        subscriptions[Int(subscriptionID.slot)] = nil
        freeSubscriptions.append(subscriptionID.slot)
        connections[slot]?.subscriptions[subscription.id] = nil
        connections[slot]?.hasCaughtUp(subscriptionID)
        if subscription.syncTarget != nil { connections[slot]?.unsynced -= 1 }
        if !subscription.wantsEcho {
            let left = connections[slot]?.subscriptions.values.contains { self.subscription($0)?.wantsEcho == false }
            connections[slot]?.hasSilentSubscription = left ?? false
        }
    }

    func subscription(_ id: SubscriptionID) -> Subscription? {
        guard let subscription = subscriptions[Int(id.slot)], subscription.generation == id.generation else {
            return nil
        }
        return subscription
    }

    /// From the next batch on, the subscription gets what is committed.
    mutating func goLive(_ subscriptionID: SubscriptionID) {
        guard let subscription = subscription(subscriptionID) else { return }
        let slot = Int(subscription.connection.slot)
        subscriptions[Int(subscriptionID.slot)]?.state = .live
        subscriptions[Int(subscriptionID.slot)]?.noticedRevision = delivered
        counters.subscriptionsLive += 1
        let count = (connections[slot]?.livePatterns[subscription.patternID] ?? 0) + 1
        connections[slot]?.livePatterns[subscription.patternID] = count
        if count == 1 { groups.add(subscription.patternID, to: subscription.connection.slot) }
    }

    func isLastLive(_ subscription: Subscription) -> Bool {
        connections[Int(subscription.connection.slot)]?.livePatterns[subscription.patternID] == 1
    }

    mutating func leaveLive(_ subscription: Subscription) {
        let slot = Int(subscription.connection.slot)
        if isLastLive(subscription) {
            connections[slot]?.livePatterns[subscription.patternID] = nil
            groups.remove(subscription.patternID, from: subscription.connection.slot)
        } else {
            connections[slot]?.livePatterns[subscription.patternID] =
                (connections[slot]?.livePatterns[subscription.patternID] ?? 1) - 1
        }
    }

    /// Sends `synced` when the subscription has passed what there was when it was made: once, whether or not it is live.
    mutating func sync(_ subscriptionID: SubscriptionID) {
        guard let subscription = subscription(subscriptionID), let target = subscription.syncTarget else { return }
        if case .snapshot = subscription.state { return }
        guard subscription.position >= target else { return }
        subscriptions[Int(subscriptionID.slot)]?.syncTarget = nil
        connections[Int(subscription.connection.slot)]?.unsynced -= 1
        let cursor = subscription.cursor(epoch: epoch, delivered: delivered)
        reply(to: subscription.connection) {
            ServerMessage.writeSynced(id: subscription.id, cursor: cursor, count: subscription.count, to: &$0)
        }
    }

    /// Tells live subscriptions that asked for it how far they have got, also where nothing matched. To be called now
    /// and then.
    package mutating func noticeCursors() {
        for slot in subscriptions.indices {
            guard let subscription = subscriptions[slot], subscription.wantsCursors, subscription.state == .live,
                subscription.noticedRevision < delivered
            else { continue }
            subscriptions[slot]?.noticedRevision = delivered
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
