import Synchronization

/// How much may be held of what has come and is not whole yet, for all connections of all event loops together: pieces of
/// messages, and of requests. A limit of each message bounds a connection, and nothing of many.
package final class InboundMemory: Sendable {
    /// Whose it is.
    package enum Party {
        /// Of somebody who has shown no credentials, where there have to be some.
        case stranger
        case known
    }

    /// What a connection may hold that is not counted: most hold less, and cost nothing here.
    static let uncounted = 4_096

    /// In bytes.
    package let limit: Int
    /// Likewise, for all strangers together: they have a hello to send, and nothing else.
    package let strangersLimit: Int
    private let known = Atomic(0)
    private let strangers = Atomic(0)
    private let refused = Atomic<UInt64>(0)

    package init(limit: Int = 256 << 20) {
        self.limit = limit
        strangersLimit = limit / 16
    }

    /// The bytes that are held.
    package var used: Int { known.load(ordering: .relaxed) + strangers.load(ordering: .relaxed) }

    /// How many connections were closed since there was no room for what they sent.
    package var refusals: UInt64 { refused.load(ordering: .relaxed) }

    package func noteRefusal() { refused.add(1, ordering: .relaxed) }

    /// - Returns: false where there is too much; it is counted all the same.
    fileprivate func change(by difference: Int, of party: Party) -> Bool {
        switch party {
        case .known: known.add(difference, ordering: .relaxed).newValue <= limit
        case .stranger: strangers.add(difference, ordering: .relaxed).newValue <= strangersLimit
        }
    }
}

/// What one connection holds of it.
package struct HeldMemory {
    private let memory: InboundMemory
    /// What is counted of it, in bytes.
    package private(set) var count = 0
    // Last: what stands behind it in a connection fits into the gap.
    package private(set) var party: InboundMemory.Party

    package init(_ memory: InboundMemory, of party: InboundMemory.Party) {
        self.memory = memory
        self.party = party
    }

    /// - Returns: false where it is more than before, and too much for all connections together.
    package mutating func set(_ bytes: Int) -> Bool {
        let counted = bytes <= InboundMemory.uncounted ? 0 : bytes
        let difference = counted - count
        if difference == 0 { return true }
        count = counted
        return memory.change(by: difference, of: party) || difference < 0
    }

    /// It is somebody else's from now on, as credentials have shown.
    package mutating func belong(to other: InboundMemory.Party) {
        guard other != party else { return }
        _ = memory.change(by: -count, of: party)
        _ = memory.change(by: count, of: other)
        party = other
    }
}
