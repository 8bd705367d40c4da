package import NIOCore
import SyncEngine

/// One run of a whole system under a seed.
package enum Simulation {
    /// One message a line, so that a client sees where a frame ends.
    package static let framing: @Sendable (inout ByteBuffer, (inout ByteBuffer) -> Void) -> Void = { buffer, body in
        body(&buffer)
        buffer.writeStaticString("\n")
    }

    /// Runs the world of `seed`.
    ///
    /// - Returns: what must never happen, and did; the first of it is nearest to the cause.
    package static func run(seed: UInt64, steps: Int = 4_000) -> (problems: [String], events: [String: Int]) {
        let world = World(seed: seed)
        for _ in 0..<steps where world.problems.isEmpty { world.step() }
        if world.problems.isEmpty { world.settle() }
        if world.problems.isEmpty { world.compare() }
        return (world.problems, world.events)
    }

    /// What the disk holds after some steps of a world, as text.
    package static func trace(seed: UInt64, steps: Int = 600) -> [String] {
        let world = World(seed: seed)
        for _ in 0..<steps { world.step() }
        return world.disk.committed.values.map { "\($0)" }.sorted()
    }
}
