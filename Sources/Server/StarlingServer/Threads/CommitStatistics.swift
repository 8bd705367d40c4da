/// What the committer has done so far.
struct CommitStatistics: Sendable {
    /// Transactions, those that the database refused too.
    var commits: UInt64 = 0
    var writes: UInt64 = 0
    /// Writes per commit.
    var batchSize = Histogram(bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096])
    /// Seconds from taking writes up to having them on the disk.
    var latency = Histogram(bounds: [
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
    ])
    var expired: UInt64 = 0
    var collected: UInt64 = 0
}
