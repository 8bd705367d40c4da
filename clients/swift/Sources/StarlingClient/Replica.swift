import Registers

/// What a client holds of one pattern: the registers that the server confirmed, under the writes of its own that are still on their way.
/// What a reader sees of a key is the greater of the two, and a change is told once.
struct Replica: Sendable {
    /// What is to be told.
    struct Change {
        let key: Key
        /// nil: nothing is to be seen any more.
        let held: Held?
        let isPending: Bool
        let cause: String?
    }

    private struct Entry {
        /// What the server confirmed; nil where there is only a write on its way.
        var confirmed: Held?
        /// The generation it was last seen in.
        var generation = 0
        /// What readers see.
        var shown: Held?
        /// What the subscriber was told last.
        var told: Held?
    }

    private var entries: [Key: Entry] = [:]
    private var generation = 0
    private var isReplacing = false
    /// Keys of tombstones: those since the last cursor, and those before it.
    private var young: [Key] = []
    private var old: [Key] = []

    /// The server begins to send.
    ///
    /// - Parameter replace: whether what comes takes the place of what is held.
    mutating func begin(replace: Bool) {
        guard replace else { return }
        isReplacing = true
        generation += 1
    }

    /// Everything there was has been sent: what a replacing snapshot did not have is gone, however great its version.
    mutating func synced(_ pendingWrite: (Key) -> Held?, tells: (Held) -> Bool) -> [Change] {
        guard isReplacing else { return [] }
        isReplacing = false
        let stale = entries.filter { $0.value.confirmed != nil && $0.value.generation != generation }.keys
        return stale.compactMap { key in
            guard var entry = entries[key] else { return nil }
            entry.confirmed = nil
            return show(key, entry, pendingWrite(key), cause: "resync", tells)
        }
    }

    /// Takes a register from the server.
    ///
    /// - Parameters:
    ///   - pending: the client's newest write to its key that is still on its way.
    ///   - tells: whether the subscriber is told of such a register.
    mutating func apply(_ held: Held, pending: Held?, tells: (Held) -> Bool) -> Change? {
        let key = held.register.key
        var entry = entries[key] ?? Entry()
        // Of a key seen in this generation the merge rule decides; what was held before the snapshot that replaces it does not count.
        let current = entry.generation == generation ? entry.confirmed?.register : nil
        entry.generation = generation
        guard Register.merge(held.register, into: current) == .applied else {
            entries[key] = entry
            return nil
        }
        entry.confirmed = held
        if held.register.isTombstone { young.append(key) }
        return show(key, entry, pending, cause: nil, tells)
    }

    /// A write of the client's to a key was made, answered or given up.
    mutating func touch(_ key: Key, pending: Held?, cause: String?, tells: (Held) -> Bool) -> Change? {
        guard let entry = entries[key] ?? (pending == nil ? nil : Entry()) else { return nil }
        return show(key, entry, pending, cause: cause, tells)
    }

    private mutating func show(
        _ key: Key, _ entry: Entry, _ pending: Held?, cause: String?, _ tells: (Held) -> Bool
    ) -> Change? {
        var entry = entry
        let isPending = Self.isGreater(pending, than: entry.confirmed)
        entry.shown = isPending ? pending : entry.confirmed
        guard let visible = entry.shown else {
            entries[key] = nil
            guard let told = entry.told, !told.register.isTombstone else { return nil }
            return Change(key: key, held: nil, isPending: false, cause: cause)
        }
        let isKnown = entry.told.map { Register.compare(visible.register, $0.register) == 0 } ?? false
        let isTold = !isKnown && tells(visible)
        if isKnown || isTold { entry.told = visible }
        entries[key] = entry
        return isTold ? Change(key: key, held: visible, isPending: isPending, cause: cause) : nil
    }

    private static func isGreater(_ pending: Held?, than confirmed: Held?) -> Bool {
        guard let pending else { return false }
        return Register.merge(pending.register, into: confirmed?.register) == .applied
    }

    /// The server gave a cursor: nothing that came before the previous one can come again, so deletes that old need not be known. They
    /// are kept until then, lest they are told twice after a resumption.
    mutating func cursorPassed(_ pendingWrite: (Key) -> Held?) {
        for key in old where entries[key]?.confirmed?.register.isTombstone == true && pendingWrite(key) == nil {
            entries[key] = nil
        }
        old = young
        young = []
    }

    /// What is to be seen of a key: also a tombstone, and what has expired.
    func get(_ key: Key) -> Held? { entries[key]?.shown }

    /// All there is to be seen at a time of the server's wall clock, by key.
    func list(at serverNow: WallTime) -> [Held] {
        entries.values.compactMap(\.shown).filter { $0.register.isVisible(at: serverNow) }
            .sorted { $0.register.key < $1.register.key }
    }
}
