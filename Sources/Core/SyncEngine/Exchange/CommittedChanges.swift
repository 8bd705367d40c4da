package import NIOCore
package import Registers
package import SyncProtocol

/// What one commit brought about. Made by the committer, read by every event loop.
package struct Committed: Sendable {
    package let made: CommittedChanges
    /// The answers for each event loop, in the order of the writes. They hold the requests, and with them what those had brought: so nobody
    /// keeps them who keeps changes.
    package let results: [[CommittedChanges.Result]]

    package init(_ made: CommittedChanges, results: [[CommittedChanges.Result]]) {
        self.made = made
        self.results = results
    }

    package var head: Revision { made.head }
    package var changes: [CommittedChanges.Change] { made.changes }
    package var frames: ByteBuffer { made.frames }
    package var collectedRevision: Revision { made.collectedRevision }
}

/// What one commit has changed.
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
        package let request: WriteRequest
        package let outcome: WriteOutcome
        /// What ends with the connection from now on.
        package let ephemeral: Ephemeral?
        /// Whether the request was told before that it waits.
        package let isLate: Bool

        package init(
            _ request: WriteRequest, outcome: WriteOutcome, ephemeral: Ephemeral? = nil, isLate: Bool = false
        ) {
            self.request = request
            self.outcome = outcome
            self.ephemeral = ephemeral
            self.isLate = isLate
        }

        package var connection: ConnectionID { request.origin.connection }
        package var id: RequestID? { request.id }
        /// The key that it is about; nil: it is about several.
        package var key: Key? { request.key }

        /// What has ended with the connection, which is gone.
        package var ended: EphemeralKey? {
            if case .end(let key) = request.action { key } else { nil }
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
    /// The greatest revision of a tombstone that is forgotten.
    package let collectedRevision: Revision

    package init(
        head: Revision, changes: [Change], frames: ByteBuffer, collectedRevision: Revision
    ) {
        self.collectedRevision = collectedRevision
        self.head = head
        self.changes = changes
        self.frames = frames
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
