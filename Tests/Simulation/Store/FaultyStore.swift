import Access
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol

/// A writer of a database, whose calls can be made to fail.
final class FaultyStore: WriteStore {
    enum Fault {
        case none
        /// The second register cannot be put.
        case put
        case commitLost
        /// The commit fails, and was made all the same.
        case commitKept
    }

    let writer: SQLiteWriter
    var fault = Fault.none
    private var puts = 0

    init(_ writer: SQLiteWriter) { self.writer = writer }

    func state() throws(StoreError) -> StoreState { try writer.state() }

    func begin(now: WallTime, clockBound: Stamp?) throws(StoreError) {
        puts = 0
        try writer.begin(now: now, clockBound: clockBound)
    }

    func put(_ register: StoredRegister, replacing: Revision?) throws(StoreError) {
        puts += 1
        if fault == .put, puts == 2 { throw StoreError("put") }
        try writer.put(register, replacing: replacing)
    }

    func commit() throws(StoreError) {
        if fault == .commitLost { throw StoreError("commit") }
        try writer.commit()
        if fault == .commitKept { throw StoreError("commit") }
    }

    func rollback() { writer.rollback() }
    func current(of key: Key) throws(StoreError) -> StoredRegister? { try writer.current(of: key) }
    func outline(of key: Key) throws(StoreError) -> StoredRegister? { try writer.outline(of: key) }
    func keys(in range: Range<Key>, limit: Int, isLasting: Bool) throws(StoreError) -> [Key] {
        try writer.keys(in: range, limit: limit, isLasting: isLasting)
    }

    func count(_ filter: Filter) throws(StoreError) -> Int { try writer.count(filter) }
    func put(_ answer: KeptAnswer) throws(StoreError) { try writer.put(answer) }
    func nextExpiry(skipping skipped: Int) throws(StoreError) -> WallTime? { try writer.nextExpiry(skipping: skipped) }
    func connectionBound(limit: Int) throws(StoreError) -> [StoredRegister] { try writer.connectionBound(limit: limit) }

    func answer(to operation: OperationID, since: WallTime) throws(StoreError) -> [UInt8]? {
        try writer.answer(to: operation, since: since)
    }

    func expired(at now: WallTime, limit: Int, skipping skipped: Int) throws(StoreError) -> [StoredRegister] {
        try writer.expired(at: now, limit: limit, skipping: skipped)
    }

    func collect(before cutoff: WallTime, limit: Int) throws(StoreError) -> CollectedTombstones {
        try writer.collect(before: cutoff, limit: limit)
    }
}
