package import NIOCore
package import SyncEngine

extension LoopDriver {
    package struct Measurements: Sendable {
        package var counters = ShardCounters()
        /// How many bytes its connections have not taken.
        package var backlog = 0
        /// How many connections were closed, as they read nothing.
        package var stalls: UInt64 = 0
        /// How many were closed, as they did not answer.
        package var pingTimeouts: UInt64 = 0

        package init() {}

        /// Adds those of another event loop.
        package mutating func add(_ other: Measurements) {
            counters = counters + other.counters
            backlog += other.backlog
            stalls += other.stalls
            pingTimeouts += other.pingTimeouts
        }
    }

    /// What the loop has done so far.
    package func measure() -> EventLoopFuture<Measurements> {
        eventLoop.submit { [self] in
            var measurements = Measurements()
            measurements.counters = shard.snapshot
            measurements.backlog = transports.reduce(0) { $0 + ($1?.backlog ?? 0) }
            measurements.stalls = stalls
            measurements.pingTimeouts = pingTimeouts
            return measurements
        }
    }
}
