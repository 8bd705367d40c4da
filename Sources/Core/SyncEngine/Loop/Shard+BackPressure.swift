import Access
import NIOCore
import Registers
import SyncProtocol

/// Sockets that do not keep up.
extension Shard {
    /// A connection's socket has more to send than it should: its subscriptions go back to catching up, from where they
    /// are. Whatever is committed meanwhile is conflated in the database, and costs no memory here.
    ///
    /// - Parameter dropped: what was handed to ``ShardOutput/deliver(_:)`` and will not be sent to it.
    package mutating func backedUp(_ id: ConnectionID, dropped: [Delivery] = []) {
        guard let state = connection(id), !state.isBackedUp else { return }
        state.isBackedUp = true
        let missed = state.subscriptions.isEmpty ? [:] : count(dropped)
        for subscriptionID in state.subscriptions.values.sorted(by: { $0.generation < $1.generation }) {
            demote(subscriptionID, dropped: dropped, missed: missed)
        }
    }

    private mutating func demote(_ id: SubscriptionID, dropped: [Delivery], missed: [PatternID: UInt64]) {
        guard let subscription = subscription(id), subscription.state == .live else { return }
        leaveLive(subscription)
        // The cursor is the last revision that was handed over whole.
        subscriptions[Int(id.slot)]?.state = .catchingUp
        subscriptions[Int(id.slot)]?.position = min(delivered, dropped.map(\.before).min() ?? delivered)
        subscriptions[Int(id.slot)]?.lag = .demoted(
            .init(matched: matched[Int(subscription.patternID)] &- (missed[subscription.patternID] ?? 0)))
        connections[Int(subscription.connection.slot)]?.catchingUp.append(id)
        demotedCount += 1
        counters.subscriptionsLive -= 1
        counters.subscriptionsCatchingUp += 1
        counters.demotions += 1
    }

    /// How many changes of each pattern were dropped.
    private mutating func count(_ dropped: [Delivery]) -> [PatternID: UInt64] {
        var counts: [PatternID: UInt64] = [:]
        for delivery in dropped {
            guard let batch = delivery.batch else { continue }
            for place in delivery.changes {
                let change = batch.changes[Int(place)]
                guard change.revision != nil else { continue }
                index.findMatches(of: change.key, into: &found)
                for pattern in found { counts[pattern, default: 0] += 1 }
                found.removeAll(keepingCapacity: true)
            }
        }
        return counts
    }

    /// A subscription that was behind has caught up: whoever wants to know is told how much it did not see.
    mutating func endDemotion(_ id: SubscriptionID) {
        guard let subscription = subscription(id), let demotion = subscription.demotion else { return }
        subscriptions[Int(id.slot)]?.lag = .none
        demotedCount -= 1
        let due = matched[Int(subscription.patternID)] &- demotion.matched
        let skipped = due > demotion.sent ? due - demotion.sent : 0
        counters.updatesConflated += skipped
        guard subscription.wantsConflated, skipped > 0 else { return }
        reply(to: subscription.connection) {
            ServerMessage.writeConflated(id: subscription.id, skipped: skipped, to: &$0)
        }
    }

    /// A connection's socket has drained.
    package mutating func drained(_ id: ConnectionID, head: UInt64, now: UInt64) {
        guard isConnected(id), connections[Int(id.slot)]?.isBackedUp == true else { return }
        connections[Int(id.slot)]?.isBackedUp = false
        readNextPage(of: id)
        resumeLookups(of: id)
        runWaiting(of: id, head: head, now: now)
    }
}
