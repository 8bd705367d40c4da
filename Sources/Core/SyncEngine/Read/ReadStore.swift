package import Access
package import Registers
import SyncProtocol

/// What the readers of a database need of storage. Calls block.
package protocol ReadStore {
    associatedtype Snapshot: ReadSnapshot

    /// Runs `body` over what is committed: all of it sees the same.
    func snapshot<Result>(_ body: (Snapshot) throws(StoreError) -> Result) throws(StoreError) -> Result
}

/// What was committed at one moment.
package protocol ReadSnapshot {
    func horizon() throws(StoreError) -> Horizon

    /// The register of a key, tombstones too.
    func register(of key: Key) throws(StoreError) -> StoredRegister?

    /// Goes through the registers of a range, tombstones too, in the order of their keys, until `body` returns false.
    ///
    /// - Parameter after: a key to begin behind; nil: at the beginning.
    /// - Returns: false when `body` did.
    func forEachRegister(
        in range: KeyRange, after: Key?, _ body: (StoredRegister) -> Bool
    ) throws(StoreError) -> Bool

    /// Goes through the registers that were changed after a revision, in the order of their revisions, until `body` returns false.
    func forEachChange(after revision: Revision, _ body: (StoredRegister) -> Bool) throws(StoreError)
}

/// From where to where a database knows its history.
package struct Horizon: Equatable, Sendable {
    /// The revision of the latest change.
    package var head: Revision
    /// The greatest revision of a tombstone that was collected.
    package var collected: Revision

    package init(head: Revision, collected: Revision) {
        self.head = head
        self.collected = collected
    }
}
