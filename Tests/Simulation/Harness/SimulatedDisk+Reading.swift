package import Access
package import Registers
package import SyncEngine
import SyncProtocol

/// What the readers of a database see: what is committed.
extension SimulatedDisk: ReadStore {
    package func snapshot<Result>(
        _ body: (Snapshot) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        try body(Snapshot(registers: committed, head: head, collected: collectedRevision))
    }

    package struct Snapshot: ReadSnapshot {
        fileprivate let registers: [Key: StoredRegister]
        fileprivate let head: Revision
        fileprivate let collected: Revision

        package func horizon() -> Horizon { Horizon(head: head, collected: collected) }

        package func register(of key: Key) -> StoredRegister? { registers[key] }

        package func forEachRegister(in range: KeyRange, after: Key?, _ body: (StoredRegister) -> Bool) -> Bool {
            let found = registers.values.filter { stored in
                let key = stored.register.key.bytes
                let isInside = range.isExact ? key == range.start : key.starts(with: range.start)
                return isInside && after.map { $0 < stored.register.key } != false
            }
            return found.sorted { $0.register.key < $1.register.key }.allSatisfy(body)
        }

        package func forEachChange(after revision: Revision, _ body: (StoredRegister) -> Bool) {
            _ = registers.values.filter { $0.revision > revision }.sorted { $0.revision < $1.revision }
                .allSatisfy(body)
        }
    }
}
