/// How long the committer waits for more requests before it commits those that it has: not at all where they come alone, and
/// where many usually come together, for most of them, so that they share one fsync.
///
/// Without it, clients that wait for their acknowledgements fall into two groups, each of which writes while the other's
/// commit is under way, and every commit has half of what it could have.
package struct CommitDelay {
    /// In nanoseconds.
    private static let maximumPatience = 250_000.0
    /// How much of what is usual is worth waiting for.
    private static let share = 0.75
    /// How many are enough in any case: what an fsync costs each of them is little then, and while they are committed the
    /// event loops can see to the next ones.
    private static let enough = 32

    /// How many requests a commit had, lately: follows a rise at once, and a fall slowly.
    private var usualCount = 0.0
    /// How long a commit took, lately, in nanoseconds.
    private var usualTime = 0.0

    /// How many requests to wait for.
    package var wanted: Int { min(max(1, Int(usualCount * Self.share)), Self.enough) }

    /// For how long, in nanoseconds.
    package var patience: Int { Int(min(usualTime / 2, Self.maximumPatience)) }

    package init() {}

    /// Notes a commit of so many requests, and how many nanoseconds it took.
    package mutating func note(count: Int, time: UInt64) {
        // More than are ever waited for would only be remembered for longer.
        let count = min(Double(count), Double(Self.enough) / Self.share)
        usualCount = max(count, usualCount + (count - usualCount) / 8)
        usualTime += (Double(time) - usualTime) / 8
    }
}
