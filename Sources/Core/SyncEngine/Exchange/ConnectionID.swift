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

extension Origin {
    /// The server itself, which expects no answer.
    package static let server = Origin(loop: -1, connection: ConnectionID(slot: -1, generation: 0))
}
