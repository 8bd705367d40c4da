package import Access
package import Registers
import SyncProtocol

/// What the committer needs of storage. All calls come from one thread.
package protocol WriteStore {
    /// The state of the database as it is on disk.
    mutating func state() throws(StoreError) -> StoreState

    /// Starts a transaction.
    ///
    /// - Parameters:
    ///   - now: the wall clock in milliseconds, which the registers that are put are noted with.
    ///   - clockBound: a new upper bound for the stamps that may be issued, or nil to leave it. It is on the disk for
    ///     good, whatever the durability of everything else, before or together with what is put.
    mutating func begin(now: WallTime, clockBound: Stamp?) throws(StoreError)

    /// The register of `key`, tombstones too. Within a transaction, after ``begin()``.
    mutating func current(of key: Key) throws(StoreError) -> StoredRegister?

    /// The register of `key` without its value, as ``StoredRegister/withoutValue``, and without its metadata where they cost anything to
    /// read. Within a transaction.
    mutating func outline(of key: Key) throws(StoreError) -> StoredRegister?

    /// How many keys match that are no tombstones. Within a transaction, before anything is put.
    mutating func count(_ filter: Filter) throws(StoreError) -> Int

    /// Keys within `range` in their order, of registers that are no tombstones. Within a transaction.
    ///
    /// - Parameter isLasting: whether only those count that do not expire.
    mutating func keys(in range: Range<Key>, limit: Int, isLasting: Bool) throws(StoreError) -> [Key]

    /// Puts a register in the place of the one with revision `replacing`, which has its row; nil where the key has none.
    mutating func put(_ register: StoredRegister, replacing: Revision?) throws(StoreError)

    /// What was answered to a request, at `since` (milliseconds) or later. Within a transaction.
    mutating func answer(to operation: OperationID, since: WallTime) throws(StoreError) -> [UInt8]?

    /// Keeps an answer, in the place of one to the same request, and forgets some of those whose time is over, and as many of the
    /// oldest as there are too many. Within a transaction.
    mutating func put(_ answer: KeptAnswer) throws(StoreError)

    /// The registers whose time is over at `now` and that are no tombstones yet, the first to expire first. Within a
    /// transaction, before anything is put.
    ///
    /// - Parameter skipped: how many of them to pass over.
    mutating func expired(at now: WallTime, limit: Int, skipping skipped: Int) throws(StoreError) -> [StoredRegister]

    /// When the next register expires that is no tombstone yet, in milliseconds; nil: none does. `skipped` as above.
    mutating func nextExpiry(skipping skipped: Int) throws(StoreError) -> WallTime?

    /// The registers that end with a connection. Within a transaction.
    mutating func connectionBound(limit: Int) throws(StoreError) -> [StoredRegister]

    /// Deletes tombstones that were put before `cutoff` (milliseconds) and whose stamps are older than that too, and notes
    /// for good what it has deleted. Within a transaction.
    mutating func collect(before cutoff: WallTime, limit: Int) throws(StoreError) -> CollectedTombstones

    /// Ends the transaction. When it returns, what was put is as durable as the database promises.
    mutating func commit() throws(StoreError)

    /// Gives the transaction up. Never fails: a transaction that cannot be rolled back is gone by itself.
    mutating func rollback()
}

/// What a database says of itself.
package struct StoreState: Equatable, Sendable {
    package var epoch: Epoch
    /// The revision of the latest change.
    package var head: Revision
    /// No stamp above this one was issued before the last start.
    package var clockBound: Stamp
    /// The greatest revision of a tombstone that was collected.
    package var collectedRevision: Revision
    /// The greatest stamp of a tombstone that was collected.
    package var collectedStamp: Stamp
    /// The greatest fencing token of a tombstone that was collected.
    package var collectedFence: Fence

    package init(
        epoch: Epoch, head: Revision, clockBound: Stamp, collectedRevision: Revision = 0, collectedStamp: Stamp = .zero,
        collectedFence: Fence = 0
    ) {
        self.epoch = epoch
        self.head = head
        self.clockBound = clockBound
        self.collectedRevision = collectedRevision
        self.collectedStamp = collectedStamp
        self.collectedFence = collectedFence
    }
}

/// What a collection deleted.
package struct CollectedTombstones: Equatable, Sendable {
    package var keys: [Key] = []
    /// The greatest of each that was ever collected.
    package var revision: Revision
    package var stamp: Stamp
    package var fence: Fence

    package init(revision: Revision, stamp: Stamp, fence: Fence) {
        self.revision = revision
        self.stamp = stamp
        self.fence = fence
    }

    package mutating func add(_ key: Key, revision: Revision, stamp: Stamp, fence: Fence) {
        keys.append(key)
        self.revision = max(self.revision, revision)
        self.stamp = max(self.stamp, stamp)
        self.fence = max(self.fence, fence)
    }
}

/// Storage that does not do what it should.
package struct StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What failed and why, for a log.
    package let description: String
    /// SQLite's extended result code; 0 where the failure is not SQLite's.
    package let code: Int32

    package init(_ description: String, code: Int32 = 0) {
        self.description = description
        self.code = code
    }

    /// Whether a row was read that says what it must not, and the next ones can be read.
    package var isRow: Bool { code == Self.damagedRow }

    /// The code for it, of SQLite's family of damage, and none of SQLite's own.
    package static let damagedRow: Int32 = 11 | 0x7F << 8

    /// Whether a part of the database cannot be read, and others may be: SQLITE_CORRUPT and SQLITE_NOTADB, and of
    /// SQLITE_IOERR those of reading (READ, SHORT_READ, DATA, CORRUPTFS).
    package var isDamage: Bool {
        code & 0xFF == 11 || code & 0xFF == 26 || [266, 522, 8_202, 8_458].contains(code)
    }
}
