import SyncProtocol

/// What a person sees of a swarm: made from the registers that are told of.
struct SwarmView {
    private struct Row {
        var name: String
        var status: String
        var agent: String?
        var dependencies: [String]
        var priority: Int64
        var attempt: Int64
        var reason: String?
        var progress: String?
        /// The order in which they were made.
        var createdAt: Int64
    }

    private static let order = ["working", "ready", "parked", "pending", "failed", "cancelled", "completed"]

    private let swarm: String
    private var rows: [String: Row] = [:]
    /// The agents that are there, by the keys that say so.
    private var presences: [String: String] = [:]
    private var progress: [String: String] = [:]

    init(_ swarm: String) { self.swarm = swarm }

    /// Takes an update.
    ///
    /// - Returns: what it says of a task, in a line; nil: it is of none.
    mutating func take(_ update: JSONObject) -> String? {
        guard let key = update.string("key") else { return nil }
        let parts = key.split(separator: ":", omittingEmptySubsequences: false)
        let value = update.bool("deleted") == true ? nil : update.object("value")
        switch (parts.count > 2 ? parts[2] : "", parts.count) {
        case ("task", 4): return take(String(parts[3]), value)
        case ("task", 5) where parts[4] == "progress":
            progress[String(parts[3])] =
                update.bool("deleted") == true ? nil : update.raw("value").map { JSON.line($0) }
        case ("agent", 5): presences[key] = value?.string("agent_id")
        default: break
        }
        return nil
    }

    private mutating func take(_ name: String, _ value: JSONObject?) -> String? {
        guard let value, let status = value.string("status") else {
            rows[name] = nil
            return nil
        }
        let row = Row(
            name: value.string("task_id") ?? name, status: status, agent: value.string("agent_id"),
            dependencies: (value.array("dependencies") ?? []).compactMap(JSONObject.string),
            priority: value.integer("priority") ?? 0, attempt: value.integer("attempt") ?? 0,
            reason: value.string("reason"), createdAt: value.integer("created_at") ?? 0)
        rows[name] = row
        return "\(Self.plain(row.name))\t\(status)\t\(Self.plain(row.agent ?? ""))"
    }

    /// The picture: a line of counts, the agents, and as many tasks as there is room for.
    func lines(width: Int, height: Int) -> [String] {
        var counts: [String: Int] = [:]
        for row in rows.values { counts[row.status, default: 0] += 1 }
        let summary = Self.order.compactMap { status in counts[status].map { "\($0) \(status)" } }.joined(
            separator: " · ")
        var lines = ["\(Self.plain(swarm))   \(summary.isEmpty ? "no tasks" : summary)", ""]
        lines += agentLines(width: width)
        lines.append("")
        let room = max(1, height - lines.count - 1)
        let tasks = rows.sorted { left, right in
            let places = (Self.place(left.value.status), Self.place(right.value.status))
            if places.0 != places.1 { return places.0 < places.1 }
            if left.value.createdAt != right.value.createdAt { return left.value.createdAt < right.value.createdAt }
            return left.key < right.key
        }
        lines += tasks.prefix(room).map { line(of: $0.value, key: $0.key) }
        if tasks.count > room { lines.append("… and \(tasks.count - room) more") }
        return lines.map { Self.cut($0, to: width) }
    }

    private func agentLines(width: Int) -> [String] {
        let there = Set(presences.values)
        var tasks: [String: [String]] = [:]
        for row in rows.values where row.status == "working" {
            if let agent = row.agent { tasks[agent, default: []].append(row.name) }
        }
        let names = there.union(tasks.keys).sorted()
        guard !names.isEmpty else { return ["no agents"] }
        let texts = names.map { name in
            let work = (tasks[name] ?? []).sorted().map(Self.plain).joined(separator: ", ")
            return "\(Self.plain(name))\(there.contains(name) ? "" : "?") \(work.isEmpty ? "–" : work)"
        }
        // In columns, as many as fit.
        let cell = min(max(12, texts.map(\.count).max() ?? 0) + 2, max(12, width))
        let columns = max(1, width / cell)
        return stride(from: 0, to: min(texts.count, columns * 8), by: columns).map { start in
            texts[start..<min(start + columns, texts.count)].map { text in
                let shown = Self.cut(text, to: cell - 2)
                return shown + String(repeating: " ", count: cell - shown.count)
            }.joined()
        }
    }

    private func line(of row: Row, key: String) -> String {
        var text = "\(Self.pad(row.status, 10)) \(Self.pad(Self.plain(row.name), 24))"
        if let agent = row.agent, row.status == "working" { text += " \(Self.plain(agent))" }
        if row.attempt > 1 { text += " (attempt \(row.attempt))" }
        if row.status == "pending" {
            let open = row.dependencies.filter { rows[$0]?.status != "completed" }
            if !open.isEmpty { text += " ← \(open.map(Self.plain).joined(separator: ", "))" }
        }
        if row.status == "working", let progress = progress[key] { text += " \(Self.plain(progress))" }
        if let reason = row.reason { text += " – \(Self.plain(reason))" }
        return text
    }

    // MARK: Text

    private static func place(_ status: String) -> Int { order.firstIndex(of: status) ?? order.count }

    /// Text of others on a terminal: without what would move the cursor.
    static func plain(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.map { isHarmless($0) ? $0 : "·" }))
    }

    /// Whether a terminal shows it as what it is: it neither moves a cursor nor turns text around.
    private static func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: false
        case .format: !scalar.properties.isBidiControl
        default: true
        }
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        let shown = cut(text, to: width)
        return shown + String(repeating: " ", count: width - shown.count)
    }

    private static func cut(_ text: String, to width: Int) -> String {
        text.count <= width ? text : "\(text.prefix(max(0, width - 1)))…"
    }

    /// The answer to `swarm.status`, for a person.
    static func lines(ofStatus answer: JSONObject) -> [String] {
        let tasks = answer.object("tasks")
        let counts = ["pending", "ready", "working", "parked"].map { "\(tasks?.integer($0) ?? 0) \($0)" }
        var lines = ["tasks      " + counts.joined(separator: " · ")]
        let oldest = answer.integer("oldest_ready_ms").map { ", the oldest for \($0) ms" } ?? ""
        lines.append(
            "ready      \(tasks?.integer("ready") ?? 0)\(oldest); \(answer.integer("waiting") ?? 0) calls wait for a task"
        )
        let completed = answer.integer("completed_last_minute").map { "\($0) in the last minute" }
        lines.append("completed  \(completed ?? "not known: the server has run for less than a minute")")
        lines.append("chain      \(answer.integer("longest_chain") ?? 0) tasks have to be done one after the other")
        for agent in (answer.array("agents") ?? []).compactMap({ try? JSONObject($0) }) {
            let work = (agent.array("tasks") ?? []).compactMap(JSONObject.string).map(plain).joined(separator: ", ")
            let there = agent.bool("present") == true ? "" : " (not there)"
            lines.append(
                "agent      \(plain(agent.string("agent_id") ?? ""))\(there)\(work.isEmpty ? "" : ": \(work)")")
        }
        for task in (answer.array("blocked") ?? []).compactMap({ try? JSONObject($0) }) {
            let by = (task.array("blocked_by") ?? []).compactMap(JSONObject.string).map(plain).joined(separator: ", ")
            lines.append("blocked    \(plain(task.string("task_id") ?? "")) by \(by)")
        }
        return lines
    }
}
