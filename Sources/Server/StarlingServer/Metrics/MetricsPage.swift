import SyncEngine
import SyncProtocol
import Transport

/// Everything that `/metrics` shows.
struct MetricsPage {
    var counters: ShardCounters
    var backlog: Int
    var stalls: UInt64 = 0
    var pingTimeouts: UInt64 = 0
    var commits: CommitStatistics
    var head: UInt64
    var threads: Int
    var gate: ConnectionGate.Counts
    var unfinished = 0
    var unfinishedRefusals: UInt64 = 0
    /// By the status of HTTP that they were answered with.
    var handshakeRefusals: [Int: UInt64] = [:]

    var text: String {
        var page = PrometheusText()
        page.gauge(
            "starling_connections", "Open connections: WebSockets, and those of requests over HTTP.",
            counters.connections)
        page.gauge("starling_sockets", "Open connections of every kind, handshakes too.", gate.open)
        page.labelled(
            "starling_connections_refused_total", "Connections refused, by the limit they met.", type: "counter",
            label: "limit",
            [
                ("total", "\(gate.refusedTotal)"), ("address", "\(gate.refusedByAddress)"),
                ("head", "\(gate.refusedHeads)"), ("handshake", "\(gate.handshakeTimeouts)"),
                ("unfinished", "\(unfinishedRefusals)"),
            ])
        page.labelled(
            "starling_handshakes_refused_total", "Requests answered by an error before any message, by status.",
            type: "counter", label: "status",
            handshakeRefusals.sorted { $0.key < $1.key }.map { ("\($0.key)", "\($0.value)") })
        page.gauge(
            "starling_unfinished_bytes", "What is held of messages and requests that are not whole yet.", unfinished)
        page.labelled(
            "starling_subscriptions", "Subscriptions by state.", type: "gauge", label: "state",
            [
                ("live", "\(counters.subscriptionsLive)"),
                ("catching_up", "\(counters.subscriptionsCatchingUp)"),
            ])
        page.gauge("starling_patterns", "Distinct patterns, summed over event loops.", counters.patterns)
        page.gauge("starling_fanout_groups", "Groups of connections that get the same updates.", counters.groups)
        page.gauge("starling_event_loops", "Event loops.", threads)
        page.counter("starling_messages_received_total", "Messages from clients.", counters.messagesReceived)
        page.counter("starling_updates_sent_total", "Updates handed to connections.", counters.updatesSent)
        page.gauge("starling_backlog_bytes", "Bytes that sockets have refused so far.", backlog)
        page.counter(
            "starling_demotions_total", "Subscriptions put back to catching up, as their socket was slow.",
            counters.demotions)
        page.counter(
            "starling_updates_conflated_total",
            "Updates that slow subscribers were spared, as later ones made them needless.",
            counters.updatesConflated)
        page.gauge("starling_holds", "Claims and registers that end with a connection.", counters.holds)
        page.counter("starling_stalls_total", "Connections closed, as they read nothing for too long.", stalls)
        page.counter("starling_ping_timeouts_total", "Connections closed, as they did not answer.", pingTimeouts)
        page.labelled(
            "starling_refusals_total", "Errors sent, by code.", type: "counter", label: "code",
            ErrorCode.allCases.map { ($0.rawValue, "\(counters.refusals[$0] ?? 0)") })
        page.counter("starling_commits_total", "Batches handed to the database.", commits.commits)
        page.counter("starling_commit_failures_total", "Batches that the database refused.", commits.failures)
        page.counter("starling_read_failures_total", "Reads that the database refused.", commits.readFailures)
        page.counter("starling_expired_total", "Registers whose time was over.", commits.expired)
        page.counter("starling_collected_total", "Tombstones forgotten.", commits.collected)
        page.counter("starling_writes_total", "Writes in those batches.", commits.writes)
        page.histogram("starling_batch_writes", "Writes per batch.", commits.batchSize)
        page.histogram("starling_commit_seconds", "Time from taking a batch to having it on disk.", commits.latency)
        page.counter("starling_revision", "The revision of the latest change.", head)
        return page.text
    }
}
