package import Access
package import NIOCore
package import Registers
package import SyncProtocol

/// Something to be read from the database, away from the event loop.
package enum ReadJob: Sendable {
    case page(PageRequest)
    case lookups(LookupRequest)
}

/// A page of a subscription that is catching up.
package struct PageRequest: Sendable {
    /// Where to go on reading.
    package enum Position: Equatable, Sendable {
        /// A first snapshot, in the order of keys: behind `after`. Each key comes as it is when its page is read, so that
        /// none can be missed by being written again and again; what changed after `base`, the head when the snapshot
        /// began, comes by revision afterwards, but for what was sent by then (``SnapshotCoverage``). Tombstones are part of it
        /// only if they are newer than `base`: another subscription of the connection may have told of the key before that.
        case keys(after: Key?, base: Revision)
        /// In the order of revisions: above `after`.
        case changes(after: Revision)
    }

    package let connection: ConnectionID
    package let subscription: SubscriptionID
    package let filter: Filter
    package let position: Position
    /// The revision that the event loop had delivered when it asked.
    let askedAt: Revision
}

/// A page as it was read, in one transaction.
package struct PageResult: Sendable {
    package struct Row: Sendable {
        package let key: Key
        /// Of the change that made it what it is.
        package let revision: Revision
        /// Where the row's update frame ends in ``PageResult/frames``.
        package let end: Int

        package init(key: Key, revision: Revision, end: Int) {
            self.key = key
            self.revision = revision
            self.end = end
        }
    }

    package let request: PageRequest
    /// The head of the transaction that read the page.
    package let head: Revision
    /// The greatest revision, in that transaction, of a tombstone that was forgotten.
    package let collectedRevision: Revision
    package let rows: [Row]
    /// The update frames of the rows, one behind the other.
    package let frames: ByteBuffer
    /// Where the next page goes on; nil when there is nothing behind this one at ``head``.
    package let next: PageRequest.Position?
    /// Why the page could not be read.
    package let failure: StoreError?

    package init(
        request: PageRequest, head: Revision, collectedRevision: Revision = 0, rows: [Row], frames: ByteBuffer,
        next: PageRequest.Position?
    ) {
        self.request = request
        self.head = head
        self.collectedRevision = collectedRevision
        self.rows = rows
        self.frames = frames
        self.next = next
        failure = nil
    }

    package init(request: PageRequest, failure: StoreError) {
        self.request = request
        head = 0
        collectedRevision = 0
        rows = []
        frames = ByteBuffer()
        next = nil
        self.failure = failure
    }
}

/// Gets, lists and digests of one connection, to be answered in their order.
package struct LookupRequest: Sendable {
    package enum Lookup: Sendable {
        case get(id: RequestID?, key: Key)
        case list(ClientMessage.List)
        case digest(ClientMessage.Digest)

        package var id: RequestID? {
            switch self {
            case .get(let id, _): id
            case .list(let list): list.id
            case .digest(let digest): digest.id
            }
        }
    }

    package let connection: ConnectionID
    package let lookups: [Lookup]
    /// The keys that may be read.
    package let scope: Scope

    package init(connection: ConnectionID, lookups: [Lookup], scope: Scope = .everything) {
        self.connection = connection
        self.lookups = lookups
        self.scope = scope
    }
}

package struct LookupResult: Sendable {
    package let connection: ConnectionID
    /// The head of the transaction that read them.
    package let head: Revision
    /// How many were answered; the others did not fit.
    package let answered: Int
    /// The frames of all answers.
    package let frames: ByteBuffer

    package init(connection: ConnectionID, head: Revision, answered: Int, frames: ByteBuffer) {
        self.connection = connection
        self.head = head
        self.answered = answered
        self.frames = frames
    }
}
