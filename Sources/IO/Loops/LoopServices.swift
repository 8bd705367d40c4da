package import Access
package import NIOCore
package import Registers
package import SyncEngine

/// What the event loops need of the rest of the server. All calls return at once.
package struct LoopServices: Sendable {
    /// Hands writes to the committer; false when it has too many waiting, and takes none of them.
    package var submitWrites: @Sendable ([WriteRequest]) -> Bool
    /// Hands a job to the readers, for the event loop with this index.
    package var submitRead: @Sendable (ReadJob, _ loop: Int) -> Void
    /// Hands a call to what answers it, and that in turn the answer to the event loop with this index.
    package var serve: @Sendable (ServiceRequest, _ loop: Int) -> Void
    /// The revision of the latest commit.
    package var head: @Sendable () -> Revision
    /// The wall clock, in milliseconds since 1970.
    package var now: @Sendable () -> WallTime
    /// 64 random bits.
    package var random: @Sendable () -> UInt64
    /// Says what credentials are worth.
    package var authority: any Authority
    /// Takes frames apart into the messages that the shard's ``Framing`` put into them, without a copy.
    package var unframe: @Sendable (ByteBuffer) -> [ByteBuffer]
    /// What all connections hold of messages that are not whole yet.
    package var memory: InboundMemory

    package init(
        submitWrites: @escaping @Sendable ([WriteRequest]) -> Bool,
        submitRead: @escaping @Sendable (ReadJob, _ loop: Int) -> Void, head: @escaping @Sendable () -> Revision,
        now: @escaping @Sendable () -> WallTime, random: @escaping @Sendable () -> UInt64,
        unframe: @escaping @Sendable (ByteBuffer) -> [ByteBuffer], authority: any Authority = OpenAuthority(),
        memory: InboundMemory = InboundMemory(),
        serve: @escaping @Sendable (ServiceRequest, _ loop: Int) -> Void = { _, _ in }
    ) {
        self.submitWrites = submitWrites
        self.submitRead = submitRead
        self.head = head
        self.now = now
        self.random = random
        self.unframe = unframe
        self.authority = authority
        self.memory = memory
        self.serve = serve
    }
}

/// Something for an event loop from another thread.
package enum LoopDelivery: Sendable {
    case committed(Committed)
    case page(PageResult)
    case lookups(LookupResult)
    case answered(ServiceAnswer)

    /// About how much memory it keeps, in bytes.
    var size: Int {
        switch self {
        case .committed(let commit): 256 + commit.frames.readableBytes
        case .page(let page): 256 + page.frames.readableBytes
        case .lookups(let result): 256 + result.frames.readableBytes
        case .answered(let answer): 256 + answer.message.readableBytes
        }
    }
}
