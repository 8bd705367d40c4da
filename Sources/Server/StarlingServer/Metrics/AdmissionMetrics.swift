import Loops
import Transport

/// The metrics of sockets and handshakes, before anything is a connection.
struct AdmissionMetrics: MetricsSource {
    let gate: ConnectionGate
    let memory: InboundMemory
    let refusals: RefusalLog

    func write(to page: inout PrometheusText) {
        let counts = gate.counts
        page.gauge("starling_sockets", "Open connections of every kind, handshakes too.", counts.open)
        page.labelled(
            "starling_connections_refused_total", "Connections refused, by the limit they met.", type: "counter",
            label: "limit",
            [
                ("total", "\(counts.refusedTotal)"), ("address", "\(counts.refusedByAddress)"),
                ("head", "\(counts.refusedHeads)"), ("handshake", "\(counts.handshakeTimeouts)"),
                ("unfinished", "\(memory.refusals)"),
            ])
        page.labelled(
            "starling_handshakes_refused_total", "Requests answered by an error before any message, by status.",
            type: "counter", label: "status",
            refusals.counts.sorted { $0.key < $1.key }.map { ("\($0.key)", "\($0.value)") })
        page.gauge(
            "starling_unfinished_bytes", "What is held of messages and requests that are not whole yet.", memory.used)
    }
}
