package import Access
package import Registers
package import SyncEngine
import SyncProtocol

/// What the readers of a database see: what is committed.
extension SimulatedDisk: ReadStore {
    package func snapshot<Result>(
        _ body: (Snapshot) throws(StoreError) -> Result
    ) throws(StoreError) -> Result {
        try body(Snapshot(content: content))
    }

    package struct Snapshot: ReadSnapshot {
        fileprivate let content: Content

        package func horizon() -> Horizon { Horizon(head: content.head, collected: content.collected.revision) }

        package func register(of key: Key) -> StoredRegister? { content.registers[key] }

        package func forEachRegister(in range: KeyRange, after: Key?, _ body: (StoredRegister) -> Bool) -> Bool {
            let found = content.registers.values.filter { stored in
                let key = stored.register.key.bytes
                let isInside = range.isExact ? key == range.start : key.starts(with: range.start)
                return isInside && after.map { $0 < stored.register.key } != false
            }
            return found.sorted { $0.register.key < $1.register.key }.allSatisfy(body)
        }

        package func forEachChange(after revision: Revision, _ body: (StoredRegister) -> Bool) {
            let changes = content.log.filter { $0.key > revision }.sorted { $0.key < $1.key }
            for (revision, row) in changes {
                // What a later change has taken the place of is passed over.
                guard let stored = content.keys[row].flatMap({ content.registers[$0] }), stored.revision == revision
                else { continue }
                if !body(stored) { return }
            }
        }
    }
}
