package import NIOCore
package import Registers
package import SyncProtocol

/// Where the effects of a ``Shard`` go. Slots are those of ``ConnectionID``s that are connected.
package protocol ShardOutput: AnyObject {
    /// Sends frames to one connection.
    func send(_ frames: ByteBuffer, to slot: Int32)
    /// Sends the same frames to many connections. What a slow one has not begun to send may be dropped, and is then to be
    /// given to ``Shard/socketBackedUp(_:dropped:)``.
    func deliver(_ delivery: Delivery)
    /// Answers the connection's Close, after everything sent before.
    func close(_ slot: Int32)
    /// Tells the connection why it ends, and ends it without what it is owed.
    func expel(_ slot: Int32, _ code: ErrorCode, _ reason: String)
    /// Hands writes to the committer.
    func submit(_ writes: [WriteRequest])
    /// Hands a job to the readers.
    func submit(_ job: ReadJob)
    /// Hands a call to the services.
    func submit(_ request: ServiceRequest)
}

/// Frames for many connections, which they can do without: what they tell can be read from the database again.
package final class Delivery {
    package let frames: ByteBuffer
    package let slots: [Int32]
    package let except: Set<Int32>
    /// The revision that everything up to had been handed over before.
    let before: Revision
    /// The changes that the frames tell of.
    package let commit: CommittedChanges?
    package let changes: [Int32]
    /// The frames, compressed, once somebody has wanted that.
    package var compressed: ByteBuffer?

    package init(
        frames: ByteBuffer, slots: [Int32], except: Set<Int32> = [], before: Revision, commit: CommittedChanges? = nil,
        changes: [Int32] = []
    ) {
        self.frames = frames
        self.slots = slots
        self.except = except
        self.before = before
        self.commit = commit
        self.changes = changes
    }
}

/// Counts of what an event loop has done, for metrics.
package struct ShardCounters: Sendable {
    package var connections = 0
    package var subscriptionsLive = 0
    package var subscriptionsCatchingUp = 0
    package var messagesReceived: UInt64 = 0
    package var updatesSent: UInt64 = 0
    package var demotions: UInt64 = 0
    package var updatesConflated: UInt64 = 0
    package var holds = 0
    package var groups = 0
    package var patterns = 0
    package var refusals: [ErrorCode: UInt64] = [:]

    package init() {}

    package static func + (left: ShardCounters, right: ShardCounters) -> ShardCounters {
        var sum = left
        sum.connections += right.connections
        sum.subscriptionsLive += right.subscriptionsLive
        sum.subscriptionsCatchingUp += right.subscriptionsCatchingUp
        sum.messagesReceived += right.messagesReceived
        sum.updatesSent += right.updatesSent
        sum.demotions += right.demotions
        sum.updatesConflated += right.updatesConflated
        sum.holds += right.holds
        sum.groups += right.groups
        sum.patterns += right.patterns
        sum.refusals.merge(right.refusals, uniquingKeysWith: +)
        return sum
    }
}

extension Shard {
    /// The counts as they are now.
    package var snapshot: ShardCounters {
        var counters = counters
        counters.groups = fanout.groupCount
        counters.patterns = fanout.patternCount
        counters.holds = ephemerals.count
        for id in own {
            for subscription in connection(id)?.subscriptions.values ?? [] {
                if subscriptions[subscription.slot].isLive {
                    counters.subscriptionsLive -= 1
                } else {
                    counters.subscriptionsCatchingUp -= 1
                }
            }
        }
        return counters
    }

    /// Whether nothing is under way: no page is being read, and no commit is kept for one.
    package var isQuiescent: Bool {
        recent.isUnneeded && heldPages.isEmpty && heldLookups.isEmpty && pages.isIdle && jobs.isEmpty && writes.isEmpty
            && connections.values.allSatisfy { $0.page == .none && $0.order.isIdle && !$0.hasOutput }
    }
}
