import Registers
import SyncProtocol

/// The registers that were written last, in front of the database. Bounded by memory: when the younger half is full, the
/// older half is forgotten and the two change places, so that what is in use stays.
struct RegisterCache {
    /// Sets, and no dictionaries: those keep the key that they had first, and with it the record of a write that is long over.
    private var young: Set<Entry> = []
    private var old: Set<Entry> = []
    private var youngCost = 0
    private let halfCost: Int

    /// A register, or a key that one is looked for by.
    private enum Entry: Hashable {
        case stored(StoredRegister)
        case key(Record)

        private var record: Record {
            switch self {
            case .stored(let stored): stored.register.record
            case .key(let record): record
            }
        }

        var stored: StoredRegister? {
            if case .stored(let stored) = self { stored } else { nil }
        }

        func hash(into hasher: inout Hasher) { hasher.combine(record.hash) }

        static func == (left: Entry, right: Entry) -> Bool { left.record.hasSameKey(as: right.record) }
    }

    /// - Parameter maximumCost: how much memory the cache may take, in bytes, roughly.
    init(maximumCost: Int) {
        halfCost = maximumCost / 2
    }

    mutating func find(_ key: Key) -> StoredRegister? {
        let entry = Entry.key(key.record)
        if let index = young.firstIndex(of: entry) { return young[index].stored }
        guard let index = old.firstIndex(of: entry), let register = old[index].stored else { return nil }
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
        if let previous = young.update(with: .stored(stored))?.stored { youngCost -= Self.cost(previous) }
    }

    mutating func removeAll() {
        young.removeAll()
        old.removeAll()
        youngCost = 0
    }

    mutating func remove(_ key: Key) {
        let entry = Entry.key(key.record)
        if let previous = young.remove(entry)?.stored { youngCost -= Self.cost(previous) }
        old.remove(entry)
    }

    private static func cost(_ stored: StoredRegister) -> Int {
        // The fixed part is what an entry takes, and the allocation of its record.
        256 + stored.register.record.count
    }
}
