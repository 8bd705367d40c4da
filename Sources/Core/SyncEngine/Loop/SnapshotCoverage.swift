import Registers

/// What a first snapshot has sent, so that none of it is sent again. The snapshot goes by key, each page as of its own head; what
/// changed while it went on then comes by revision, and most of that was in the pages already.
///
/// It is kept within a bound: where there is more to remember, less is, and the rest is sent twice.
final class SnapshotCoverage {
    /// Some keys in a row, and the revision as of which they were sent.
    private struct Stretch {
        /// The last key; nil: to the end.
        var through: Key?
        var head: Revision
    }

    /// How many stretches, and how many single keys, are remembered. An even number.
    static let capacity = 64

    /// Nothing up to this key was sent; nil: everything from the first key on.
    private let start: Key?
    /// In the order of keys, one behind the other without a gap.
    private var stretches: [Stretch] = []
    /// Keys that were sent as of a later revision than their stretch.
    private var newer: [Key: Revision] = [:]

    /// - Parameter start: behind which key the snapshot begins.
    init(after start: Key?) {
        self.start = start
    }

    /// A page was sent, with the keys from behind the last page through `through`, as of `head`.
    func note(through: Key?, head: Revision) {
        if let last = stretches.last, last.head == head {
            stretches[stretches.count - 1].through = through
            return
        }
        if stretches.count == Self.capacity {
            // Of two neighbours, the lower head holds for both.
            stretches = stride(from: 0, to: Self.capacity, by: 2).map { place in
                let (first, second) = (stretches[place], stretches[place + 1])
                return Stretch(through: second.through, head: min(first.head, second.head))
            }
        }
        stretches.append(Stretch(through: through, head: head))
    }

    /// A key of the page was sent as it is since `revision`, which is after the page's head.
    func note(_ key: Key, at revision: Revision) {
        if newer.count < Self.capacity || newer[key] != nil { newer[key.detached] = revision }
    }

    /// Whether the key's state since `revision` was sent.
    func covers(_ key: Key, at revision: Revision) -> Bool {
        if let start, key <= start { return false }
        if let known = newer[key], known >= revision { return true }
        var range = stretches.indices
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            let isBefore = stretches[middle].through.map { $0 < key } ?? false
            range = isBefore ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
        }
        guard range.lowerBound < stretches.count else { return false }
        return stretches[range.lowerBound].head >= revision
    }
}
