import Access
import NIOCore
import Registers
import SyncProtocol

/// Slow consumers: connections whose sockets do not keep up.
extension Shard {
    /// A connection's socket has more to send than it should: its subscriptions go back to catching up, from where they
    /// are. Whatever is committed meanwhile is conflated in the database, and costs no memory here.
    ///
    /// - Parameter dropped: what was handed to ``ShardOutput/deliver(_:)`` and will not be sent to it.
    package mutating func socketBackedUp(_ id: ConnectionID, dropped: [Delivery] = []) {
        guard let state = connection(id), !state.isBackedUp else { return }
        state.socket = .backedUp
        let missed = state.subscriptions.isEmpty ? [:] : fanout.count(dropped)
        // The cursor is the last revision that was handed over whole.
        let position = min(delivered, dropped.map(\.before).min() ?? delivered)
        for id in state.subscriptions.values.sorted(by: { $0.generation < $1.generation }) {
            demote(id, of: state, to: position, missed: missed)
        }
    }

    private mutating func demote(
        _ id: SubscriptionID, of state: ConnectionState, to position: Revision, missed: [PatternID: UInt64]
    ) {
        let subscription = subscriptions[id.slot]
        guard subscription.isLive else { return }
        fanout.leaveLive(subscription.patternID, state.id.slot)
        let matched = fanout.demoted(subscription.patternID, dropped: missed)
        subscriptions[id.slot].fellBehind(to: position, .init(matched: matched))
        state.catchingUp.append(id)
        counters.subscriptionsLive -= 1
        counters.subscriptionsCatchingUp += 1
        counters.demotions += 1
    }

    /// A subscription that was behind has caught up: whoever wants to know is told how much it did not see.
    mutating func endDemotion(_ demotion: Subscription.Demotion, of subscription: Subscription) {
        let due = fanout.promoted(subscription.patternID, since: demotion.matched)
        let skipped = due > demotion.sent ? due - demotion.sent : 0
        counters.updatesConflated += skipped
        guard subscription.wantsConflated, skipped > 0 else { return }
        reply(to: subscription.connection) {
            ServerMessage.writeConflated(id: subscription.id, skipped: skipped, to: &$0)
        }
    }

    /// A connection's socket has drained.
    package mutating func socketDrained(_ id: ConnectionID, _ turn: Turn) {
        guard let state = connection(id), state.isBackedUp else { return }
        state.socket = .keepsUp
        readNextPage(of: state)
        resumeLookups(of: state)
        runWaiting(of: id, turn)
    }
}
