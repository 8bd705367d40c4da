package import Registers
package import SyncProtocol

/// What a session was, counted from what is kept of it: nothing in it is made up, and what nobody knows is null.
package struct SessionSummary: Equatable, Sendable {
    /// How many files are named.
    private static let maximumFiles = 10

    package private(set) var prompts: UInt64 = 0
    package private(set) var edits: UInt64 = 0
    package private(set) var toolFailures: UInt64 = 0
    package private(set) var tasksCompleted: UInt64 = 0
    /// By how often each was changed.
    private var files: [[UInt8]: Int] = [:]
    private var last: [UInt8]?
    /// Of the first and of the last record, in milliseconds.
    private var first: Int64?
    private var latest: Int64?

    /// Whether all of the session's records were counted.
    package var isComplete = true

    package init() {}

    /// Counts one register of the session's, as lists have it.
    package mutating func add(_ register: JSONObject) {
        guard let name = register.string("key"), let key = try? Key(name), let kind = SessionKey(key),
            let value = register.object("value")
        else { return }
        switch kind {
        case .edit:
            edits += 1
            if let file = value.string("file") { files[Array(file.utf8), default: 0] += 1 }
        case .log:
            switch value.string("event").flatMap({ SessionLogEvent(rawValue: $0) }) {
            case .started:
                let hook = value.object("data")?.string("hook").flatMap { HookEvent.Name($0) }
                if hook?.isPrompt ?? false { prompts += 1 }
            case .completed: tasksCompleted += 1
            case .toolFailed: toolFailures += 1
            case .failed, .ended, .noted, nil: break
            }
        case .last:
            last = value.string("message").map { Array($0.utf8) }
        case .present:
            note(value.integer("started_at").flatMap { 0..<253_402_300_800 ~= $0 ? $0 * 1_000 : nil })
            return
        case .summary: return
        }
        note(register.integer("timestamp"))
    }

    private mutating func note(_ time: Int64?) {
        guard let time else { return }
        first = min(first ?? time, time)
        latest = max(latest ?? time, time)
    }

    /// Whether there was anything.
    package var isEmpty: Bool { prompts + edits + toolFailures + tasksCompleted == 0 && last == nil }

    /// What happened in it, in a few sentences, and what was said last.
    package var text: [UInt8] {
        var sentences: [String] = []
        if edits > 0 {
            let named = files.map { (name: String(decoding: $0.key, as: UTF8.self), count: $0.value) }
            let most = named.sorted { ($1.count, $0.name) < ($0.count, $1.name) }.prefix(Self.maximumFiles)
            let names = most.map { $0.name.prefix(200) }.joined(separator: ", ")
            let others = files.count - most.count
            sentences.append(
                Self.count(edits, "edit") + " of " + Self.count(UInt64(files.count), "file") + ": " + names
                    + (others > 0 ? " and \(others) more" : "") + ".")
        }
        if tasksCompleted > 0 { sentences.append(Self.count(tasksCompleted, "task") + " completed.") }
        if let last { sentences.append(String(decoding: TextPrefix.of(last, 1_024), as: UTF8.self)) }
        return Array(sentences.joined(separator: " ").utf8)
    }

    private static func count(_ number: UInt64, _ noun: String) -> String {
        "\(number) \(noun)\(number == 1 ? "" : "s")"
    }

    /// `{"session_id","summary","metrics":{…}}`
    package func json(session: Segment, agent: [UInt8], reason: [UInt8]?, at now: WallTime) -> [UInt8] {
        var metrics = JSONWriter()
        metrics.add("prompts", number: prompts)
        metrics.add("edits", number: edits)
        metrics.add("files", number: files.count)
        metrics.add("tool_failures", number: toolFailures)
        metrics.add("tasks_completed", number: tasksCompleted)
        metrics.add(
            "seconds",
            optional: first.flatMap { now.milliseconds >= $0 ? (now.milliseconds - UInt64($0)) / 1_000 : nil })
        var object = JSONWriter()
        object.add("session_id", session)
        object.add("agent_id", agent)
        object.add("summary", text)
        object.add("metrics", raw: metrics.finish())
        if !isComplete { object.add("complete", false) }
        object.add("reason", reason)
        object.add("ended_at", seconds: now.milliseconds)
        return object.finish()
    }
}
