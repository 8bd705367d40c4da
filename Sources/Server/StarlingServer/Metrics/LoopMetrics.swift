import Loops
import NIOCore
import SyncEngine
import SyncProtocol

/// The metrics of the event loops: connections, subscriptions, and what is sent.
struct LoopMetrics: MetricsSource {
    let drivers: [LoopDriver]

    func write(to page: inout PrometheusText) async throws {
        var sum = LoopDriver.Measurements()
        for driver in drivers { sum.add(try await driver.measure().get()) }
        let counters = sum.counters
        page.gauge(
            "starling_connections", "Open connections: WebSockets, and those of requests over HTTP.",
            counters.connections)
        page.labelled(
            "starling_subscriptions", "Subscriptions by state.", type: "gauge", label: "state",
            [
                ("live", "\(counters.subscriptionsLive)"),
                ("catching_up", "\(counters.subscriptionsCatchingUp)"),
            ])
        page.gauge("starling_patterns", "Distinct patterns, summed over event loops.", counters.patterns)
        page.gauge("starling_fanout_groups", "Groups of connections that get the same updates.", counters.groups)
        page.gauge("starling_event_loops", "Event loops.", drivers.count)
        page.counter("starling_messages_received_total", "Messages from clients.", counters.messagesReceived)
        page.counter("starling_updates_sent_total", "Updates handed to connections.", counters.updatesSent)
        page.gauge("starling_backlog_bytes", "Bytes that sockets have refused so far.", sum.backlog)
        page.counter(
            "starling_demotions_total", "Subscriptions put back to catching up, as their socket was slow.",
            counters.demotions)
        page.counter(
            "starling_updates_conflated_total",
            "Updates that slow subscribers were spared, as later ones made them needless.",
            counters.updatesConflated)
        page.gauge("starling_holds", "Claims and registers that end with a connection.", counters.holds)
        page.counter("starling_stalls_total", "Connections closed, as they read nothing for too long.", sum.stalls)
        page.counter("starling_ping_timeouts_total", "Connections closed, as they did not answer.", sum.pingTimeouts)
        page.labelled(
            "starling_refusals_total", "Errors sent, by code.", type: "counter", label: "code",
            ErrorCode.allCases.map { ($0.rawValue, "\(counters.refusals[$0] ?? 0)") })
    }
}
