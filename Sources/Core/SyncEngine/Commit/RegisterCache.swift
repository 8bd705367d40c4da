import Registers
import SyncProtocol

/// The registers that were written last, in front of the database. Bounded by memory: when the younger half is full, the
/// older half is forgotten and the two change places, so that what is in use stays.
struct RegisterCache {
    private var young: [Key: StoredRegister] = [:]
    private var old: [Key: StoredRegister] = [:]
    private var youngCost = 0
    private let halfCost: Int

    /// - Parameter maximumCost: how much memory the cache may take, in bytes, roughly.
    init(maximumCost: Int) {
        halfCost = maximumCost / 2
    }

    mutating func find(_ key: Key) -> StoredRegister? {
        if let register = young[key] { return register }
        guard let register = old[key] else { return nil }
        insert(register)
        return register
    }

    mutating func insert(_ stored: StoredRegister) {
        let cost = Self.cost(stored)
        if cost > halfCost / 8 {
            // One giant must not drive everything else out.
            remove(stored.register.key)
            return
        }
        if youngCost + cost > halfCost {
            swap(&young, &old)
            young.removeAll(keepingCapacity: true)
            youngCost = 0
        }
        youngCost += cost
        if let previous = young.updateValue(stored, forKey: stored.register.key) {
            youngCost -= Self.cost(previous)
        }
    }

    mutating func removeAll() {
        young.removeAll()
        old.removeAll()
        youngCost = 0
    }

    mutating func remove(_ key: Key) {
        if let previous = young.removeValue(forKey: key) { youngCost -= Self.cost(previous) }
        old[key] = nil
    }

    private static func cost(_ stored: StoredRegister) -> Int {
        // The fixed part is what a dictionary entry and its small arrays take.
        320 + stored.register.key.bytes.count + (stored.register.value?.count ?? 0)
            + (stored.register.metadata?.count ?? 0)
    }
}
