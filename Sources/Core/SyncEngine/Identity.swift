package import Registers
package import SyncProtocol

/// A connection of one event loop: a slot that is used again, and a generation that tells its users apart.
package struct ConnectionID: Hashable, Sendable {
    package let slot: Int32
    package let generation: UInt32

    package init(slot: Int32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// A subscription of one event loop, likewise.
package struct SubscriptionID: Hashable, Sendable {
    let slot: Int32
    let generation: UInt32
}

/// Where a write came from, for its answer to find the way back.
package struct Origin: Hashable, Sendable {
    /// The index of the event loop.
    package let loop: Int
    package let connection: ConnectionID

    package init(loop: Int, connection: ConnectionID) {
        self.loop = loop
        self.connection = connection
    }
}

/// A write on its way to the committer.
package struct WriteRequest: Sendable {
    package let write: ClientMessage.Write
    /// The agent of the connection.
    package let agent: Agent
    /// The stamp for a write that brings milliseconds only; nil where the server stamps, or the write brings a version.
    package let stamp: Stamp?
    package let origin: Origin

    package init(write: ClientMessage.Write, agent: Agent, stamp: Stamp? = nil, origin: Origin) {
        self.write = write
        self.agent = agent
        self.stamp = stamp
        self.origin = origin
    }

    /// What queues are bounded by.
    package var cost: Int { write.cost }
}

extension ClientMessage.Write {
    /// About how much memory the write takes, in bytes.
    var cost: Int { 256 + key.bytes.count + (value?.count ?? 0) + (metadata?.count ?? 0) }
}
