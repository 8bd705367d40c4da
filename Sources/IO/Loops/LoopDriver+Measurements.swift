package import NIOCore
package import SyncEngine

extension LoopDriver {
    package struct Measurements: Sendable {
        package var counters: ShardCounters
        /// How many bytes its connections have not taken.
        package var backlog: Int
        /// How many connections were closed, as they read nothing.
        package var stalls: UInt64
        /// How many were closed, as they did not answer.
        package var pingTimeouts: UInt64
    }

    /// What the loop has done so far.
    package func measure() -> EventLoopFuture<Measurements> {
        eventLoop.submit { [self] in
            Measurements(
                counters: shard.snapshot, backlog: transports.reduce(0) { $0 + ($1?.backlog ?? 0) }, stalls: stalls,
                pingTimeouts: pingTimeouts)
        }
    }
}
