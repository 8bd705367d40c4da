package import NIOCore
package import Registers
package import SyncProtocol

/// What one commit brought about. Made by the committer, read by every event loop.
package final class CommittedChanges: Sendable {
    /// One update: a committed change, or a transient broadcast.
    package struct Change: Sendable {
        package let key: Key
        /// nil for a transient broadcast.
        package let revision: Revision?
        package let origin: Origin
        /// Where the update's frame starts and ends in ``CommittedChanges/frames``.
        package let start: Int
        package let end: Int
    }

    /// The answer to one write.
    package struct Result: Sendable {
        package let connection: ConnectionID
        package let id: RequestID?
        /// The key that it is about; nil: it is about several.
        package let key: Key?
        package let outcome: WriteOutcome
        /// What ``WriteRequest/cost`` said.
        package let cost: Int
        /// Whether a client's message is answered by it.
        package let isFromClient: Bool
        /// Whether it asked for something that ends with its connection.
        package let endsWithConnection: Bool
        /// What ends with the connection from now on.
        package let ephemeral: Ephemeral?
        /// What has ended with the connection, which is gone.
        package let ended: EphemeralKey?

        package init(
            _ request: WriteRequest, outcome: WriteOutcome, ephemeral: Ephemeral? = nil
        ) {
            connection = request.origin.connection
            id = request.id
            key = request.key
            self.outcome = outcome
            cost = request.cost
            isFromClient = request.isFromClient
            endsWithConnection = request.endsWithConnection
            self.ephemeral = ephemeral
            if case .end(let key) = request.action { ended = key } else { ended = nil }
        }
    }

    /// An ephemeral key that was made or kept.
    package struct Ephemeral: Equatable, Sendable {
        package let key: EphemeralKey
        /// When it ends unless it is kept, in milliseconds.
        package let expiresAt: WallTime
        package let upkeep: Upkeep
    }

    /// Who sees to it that an ephemeral key does not end before its connection.
    package enum Upkeep: Equatable, Sendable {
        case server
        /// The client has given it a time, and renews it.
        case client
        /// Whoever did before.
        case asBefore
    }

    /// The revision of the latest change up to and with this commit.
    package let head: Revision
    /// In the order in which they took effect.
    package let changes: [Change]
    /// The frames of all changes, one behind the other.
    package let frames: ByteBuffer
    /// The answers for each event loop, in the order of the writes.
    package let results: [[Result]]
    /// The greatest revision of a tombstone that is forgotten.
    package let collectedRevision: Revision

    package init(
        head: Revision, changes: [Change], frames: ByteBuffer, results: [[Result]], collectedRevision: Revision
    ) {
        self.collectedRevision = collectedRevision
        self.head = head
        self.changes = changes
        self.frames = frames
        self.results = results
    }

    /// The frames of the changes from one index to another, without a copy.
    package func frames(_ range: Range<Int>) -> ByteBuffer {
        guard let first = range.first, let last = range.last else { return ByteBuffer() }
        let start = changes[first].start
        return frames.getSlice(at: frames.readerIndex + start, length: changes[last].end - start) ?? ByteBuffer()
    }
}

/// Encodes a message as the transport wants it: a WebSocket text frame, a server-sent event, a line.
///
/// It is given the buffer to append to, and a function that appends the message's JSON.
package typealias Framing = @Sendable (inout ByteBuffer, (inout ByteBuffer) -> Void) -> Void
