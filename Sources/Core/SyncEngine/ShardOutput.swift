package import NIOCore
package import SyncProtocol

/// Where the effects of a ``Shard`` go. Slots are those of ``ConnectionID``s that are connected.
package protocol ShardOutput: AnyObject {
    /// Sends frames to one connection.
    func send(_ frames: ByteBuffer, to slot: Int32)
    /// Sends the same frames to many connections, except for some.
    func deliver(_ frames: ByteBuffer, to slots: [Int32], except: Set<Int32>)
    /// Answers the connection's Close, after everything sent before.
    func close(_ slot: Int32)
    /// Hands writes to the committer.
    func submit(_ writes: [WriteRequest])
    /// Hands a job to the readers.
    func submit(_ job: ReadJob)
}

/// Counts of what an event loop has done, for metrics.
package struct ShardCounters: Sendable {
    package var connections = 0
    package var subscriptionsLive = 0
    package var subscriptionsCatchingUp = 0
    package var messagesReceived: UInt64 = 0
    package var updatesSent: UInt64 = 0
    package var demotions: UInt64 = 0
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
        counters.groups = groups.count
        counters.patterns = index.count
        return counters
    }
}

extension Shard {
    /// Whether nothing is under way: no page is being read, and no batch is kept for one.
    package var isQuiescent: Bool {
        recent.isEmpty && heldPages.isEmpty && dirty.isEmpty && jobs.isEmpty && writes.isEmpty
            && connections.allSatisfy { $0?.isPageInFlight != true && $0?.lookups.isEmpty != false }
    }
}
