import Foundation
import LoadGenerator

/// What a process has used of the machine (Linux, proc(5)).
struct ProcessUsage {
    var cpuSeconds: Double
    /// Resident memory, in bytes.
    var memory: Int
    var grownBy = 0

    init?(_ pid: Int32) {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 21,
            let user = Double(fields[11]), let system = Double(fields[12]), let pages = Int(fields[21])
        else { return nil }
        cpuSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
        memory = pages * sysconf(Int32(_SC_PAGESIZE))
    }

    func since(_ before: ProcessUsage?) -> ProcessUsage? {
        guard let before else { return nil }
        var difference = self
        difference.cpuSeconds -= before.cpuSeconds
        difference.grownBy = memory - before.memory
        return difference
    }
}

/// What a run has measured, for people and for programs.
struct BenchReport {
    let plan: LoadPlan
    let report: LoadReport
    let usage: ProcessUsage?

    var text: String {
        var parts = [plan.scenario.rawValue.padding(toLength: 10, withPad: " ", startingAt: 0), shape]
        let seconds = max(report.seconds, 1e-9)
        switch plan.scenario {
        case .fanOut, .pattern, .wildcards, .latency:
            parts.append("\(Self.number(Double(report.delivered) / seconds)) deliveries/s")
            parts.append(Self.latencies("delivered", report.deliveries))
            parts.append(Self.latencies("acknowledged", report.acknowledgements))
        case .ingest:
            parts.append("\(Self.number(Double(report.acknowledged) / seconds)) durable writes/s")
            parts.append(Self.latencies("acknowledged", report.acknowledgements))
        case .idle:
            parts.append("opened in \(Self.decimal(report.openingSeconds)) s")
            parts.append("\(Self.number(Double(report.opened) / max(report.openingSeconds, 1e-9)))/s")
        case .snapshot:
            parts.append("\(report.delivered) registers in \(Self.decimal(seconds)) s")
            parts.append("\(Self.number(Double(report.delivered) / seconds)) registers/s")
        case .reconnect:
            parts.append("all synced in \(Self.decimal(report.openingSeconds)) s")
            parts.append("\(report.delivered) updates")
            if let calm = report.calmDeliveries { parts.append(Self.latencies("live before", calm)) }
            parts.append(Self.latencies("live meanwhile", report.deliveries))
        }
        if let usage { parts.append(use(usage)) }
        if report.missing > 0 { parts.append("\(report.missing) replaced by newer values before they were sent") }
        if report.refused > 0 { parts.append("\(report.refused) refused") }
        return parts.joined(separator: " | ")
    }

    private var shape: String {
        switch plan.scenario {
        case .fanOut, .pattern, .wildcards:
            "\(plan.publishers) to \(plan.subscribers), "
                + (plan.rate > 0 ? "\(plan.rate)/s" : "\(plan.window) in flight")
        case .latency: "\(plan.publishers) to \(plan.subscribers), \(plan.rate)/s"
        case .ingest:
            "\(plan.publishers) publishers, "
                + (plan.rate > 0 ? "\(plan.rate)/s" : "\(plan.window) in flight each")
        case .idle: "\(plan.subscribers) connections"
        case .snapshot: "\(plan.keys) keys"
        case .reconnect: "\(plan.subscribers) of \(plan.keys) keys, \(plan.missed) changes behind"
        }
    }

    /// What the server did for each delivery, or what else there was to do.
    private func use(_ usage: ProcessUsage) -> String {
        if plan.scenario == .idle { return "server \(usage.grownBy / max(1, report.opened)) bytes a connection" }
        let count = plan.scenario == .ingest ? report.acknowledged : report.delivered
        let each = (report.serverSeconds ?? 0) * 1e6 / Double(max(1, count))
        return "server \(String(format: "%.3f", each)) µs of CPU each, \(usage.memory >> 20) MiB"
    }

    var json: String {
        var fields = [
            "\"scenario\":\"\(plan.scenario.rawValue)\"", "\"subscribers\":\(plan.subscribers)",
            "\"publishers\":\(plan.publishers)", "\"window\":\(plan.window)", "\"rate\":\(plan.rate)",
            "\"size\":\(plan.valueSize)", "\"keys\":\(plan.keys)", "\"seconds\":\(report.seconds)",
            "\"published\":\(report.published)", "\"acknowledged\":\(report.acknowledged)",
            "\"delivered\":\(report.delivered)", "\"missing\":\(report.missing)", "\"refused\":\(report.refused)",
            "\"opened\":\(report.opened)", "\"opening_seconds\":\(report.openingSeconds)",
            Self.json("delivery_us", report.deliveries), Self.json("acknowledgement_us", report.acknowledgements),
        ]
        if let calm = report.calmDeliveries { fields.append(Self.json("calm_delivery_us", calm)) }
        if let usage {
            fields.append("\"server_cpu_seconds\":\(report.serverSeconds ?? 0)")
            fields.append("\"server_memory\":\(usage.memory)")
            fields.append("\"server_memory_growth\":\(usage.grownBy)")
        }
        return "{" + fields.joined(separator: ",") + "}"
    }

    private static func json(_ name: String, _ histogram: LatencyHistogram) -> String {
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1)]
        let fields = quantiles.map { "\"\($0.0)\":\(histogram.quantile($0.1))" }
        return "\"\(name)\":{\"count\":\(histogram.count),\(fields.joined(separator: ","))}"
    }

    private static func latencies(_ what: String, _ histogram: LatencyHistogram) -> String {
        guard histogram.count > 0 else { return "\(what): none" }
        let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
        return what + quantiles.map { " \($0.0) \(milliseconds(histogram.quantile($0.1)))" }.joined() + " ms"
    }

    /// Microseconds as milliseconds, with three figures.
    static func milliseconds(_ microseconds: UInt64) -> String {
        decimal(Double(microseconds) / 1_000)
    }

    private static func decimal(_ value: Double) -> String {
        String(format: value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value)
    }

    /// A number with a comma at the thousands.
    static func number(_ value: Double) -> String {
        let digits = String(Int(value.rounded()))
        var text = ""
        for (place, digit) in digits.enumerated() {
            if place > 0, (digits.count - place) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }
}
