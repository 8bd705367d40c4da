package import Registers

/// The layout of what is kept of sessions: `session:<session>:…`, names escaped as a ``Segment`` is.
package enum SessionKey: Equatable, Sendable {
    /// `id` tells edits apart: that of the tool's use, else a stamp.
    case edit(Segment, id: [UInt8])
    case log(Segment, stamp: [UInt8])
    case last(Segment)
    case present(Segment)
    case summary(Segment)

    package static let prefix = Array("session:".utf8)

    private var text: [UInt8] {
        func join(_ session: Segment, _ rest: String, _ id: [UInt8] = []) -> [UInt8] {
            Self.prefix + session.escaped + Array(":\(rest)".utf8) + id
        }
        return switch self {
        case .edit(let session, let id): join(session, "edit:", id)
        case .log(let session, let stamp): join(session, "log:", stamp)
        case .last(let session): join(session, "last")
        case .present(let session): join(session, "present")
        case .summary(let session): join(session, "summary")
        }
    }

    /// The key itself. Names are short enough for it.
    package var key: Key { Key(unchecked: text) }

    /// The pattern of what is kept of a session.
    package static func pattern(_ session: Segment) -> [UInt8] {
        Pattern.escaping(prefix + session.escaped) + Array(":*".utf8)
    }

    /// Reads a key.
    package init?(_ key: Key) {
        let parts = key.bytes.split(separator: Key.separator, omittingEmptySubsequences: false)
        guard parts.count >= 3, key.bytes.starts(with: Self.prefix), let session = Segment(escaped: parts[1]) else {
            return nil
        }
        switch (String(decoding: parts[2], as: UTF8.self), parts.count) {
        case ("edit", 4): self = .edit(session, id: Array(parts[3]))
        case ("log", 4): self = .log(session, stamp: Array(parts[3]))
        case ("last", 3): self = .last(session)
        case ("present", 3): self = .present(session)
        case ("summary", 3): self = .summary(session)
        default: return nil
        }
    }
}

/// What the log of a session says of.
package enum SessionLogEvent: String, Sendable {
    case started, completed, failed, ended
    case toolFailed = "tool_failed"
    case noted
}

/// A line in the log of a session.
package struct SessionLogEntry: Sendable {
    package var event: SessionLogEvent
    /// By which of a harness's names.
    package var name: String
    package var task: [UInt8]?
    package var taskType: [UInt8]
    package var agent: [UInt8]
    /// What it was about.
    package var text: [UInt8]?
    package var file: [UInt8]?

    package init(
        _ event: SessionLogEvent, name: String, task: [UInt8]?, taskType: [UInt8], agent: [UInt8], text: [UInt8]?,
        file: [UInt8]?
    ) {
        self.event = event
        self.name = name
        self.task = task
        self.taskType = taskType
        self.agent = agent
        self.text = text
        self.file = file
    }

    /// `{"task_id","event","data"}`, and who and when.
    package func json(session: Segment, at now: WallTime) -> [UInt8] {
        var data = JSONWriter()
        data.add("hook", name)
        data.add("task_type", taskType)
        if let text { data.add("text", text) }
        if let file { data.add("file", file) }
        var object = JSONWriter()
        object.add("task_id", task)
        object.add("event", event.rawValue)
        object.add("data", raw: data.finish())
        object.add("agent_id", agent)
        object.add("session_id", session)
        object.add("created_at", seconds: now.milliseconds)
        return object.finish()
    }
}
