import Registers

/// The metrics of the committer, and of the disk as committer and readers find it.
struct CommitMetrics: MetricsSource {
    let committer: CommitterThread
    let health: StoreHealth

    func write(to page: inout PrometheusText) {
        let commits = committer.measured
        let failures = health.failures
        page.counter("starling_commits_total", "Transactions that wrote something, or failed to.", commits.commits)
        page.counter("starling_commit_failures_total", "Transactions that the database refused.", failures.commits)
        page.counter("starling_read_failures_total", "Reads that the database refused.", failures.reads)
        page.counter("starling_expired_total", "Registers whose time was over.", commits.expired)
        page.counter("starling_collected_total", "Tombstones forgotten.", commits.collected)
        page.counter("starling_writes_total", "Requests that were judged, whatever became of them.", commits.writes)
        page.histogram("starling_batch_writes", "Requests that were judged together.", commits.batchSize)
        page.histogram(
            "starling_commit_seconds", "Time from taking requests to having what they wrote on disk.", commits.latency)
        page.counter("starling_revision", "The revision of the latest change.", committer.head.rawValue)
    }
}
