package import Registers
import SyncProtocol

/// What a harness of agents says at a point of its work: the JSON that it gives to hooks. What is not understood in it is nothing, and never an error:
/// harnesses change, and none is to stumble over its hooks.
///
/// It is bounded, and has no secrets any more: ``json`` is what may travel and be kept.
package struct HookInput: Equatable, Sendable {
    /// The greatest size of the JSON that comes, in bytes.
    package static let maximumSize = 4 << 20
    /// How much of a prompt, a message or an error is kept, in bytes.
    static let maximumText = 2 << 10
    static let maximumMessage = 4 << 10

    /// The event's name, as whoever asks calls it; answers repeat it.
    package var name: String
    package var event: HookEvent
    package var session: Segment?
    /// The folder that it works in.
    package var folder: [UInt8]?
    /// Of an agent within the session.
    package var subagent: [UInt8]?
    package var task: [UInt8]?
    /// What kind of work it is: what is learnt is counted by that.
    package var taskType: [UInt8]
    package var isSeed: Bool
    /// Whether somebody only tries it: then nothing is kept.
    package var isTrial: Bool

    /// Reads what a harness says.
    ///
    /// - Parameters:
    ///   - json: an object.
    ///   - name: of the event; nil: the object says it.
    ///   - keepsContent: whether it may keep what people and agents have written, and not only that they have.
    /// - Returns: nil where it is no object, or has no event.
    package init?(_ json: [UInt8], name: String? = nil, keepsContent: Bool = true) {
        guard let object = HookJSON(json) else { return nil }
        let fields = HookFields(object)
        guard let name = name ?? fields.name("hook_event_name", "event"), 1...64 ~= name.utf8.count else { return nil }
        let known = HookEvent.Name(name)
        self.name = name
        isSeed = known?.isSeed ?? false || name == "session-end"
        isTrial = fields.bool("trial") ?? false
        session = fields.segment("session_id", "sessionId")
        folder = fields.text(HookFields.maximumPath, "cwd")
        // The seed's callers name the agent that works, and no agent within one.
        subagent = fields.text(Segment.maximumLength, "agent_id", "agentId")
        task = fields.text(Segment.maximumLength, "task_id", "taskId")
        taskType = fields.text(64, "task_type", "taskType", "agent_type") ?? Self.type(of: known)
        event = known.map { Self.event($0, fields, keepsContent: keepsContent) } ?? .ignored
    }

    private static func type(of name: HookEvent.Name?) -> [UInt8] {
        switch name {
        case .taskCreated, .taskCompleted, .preTask, .postTask: Array("task".utf8)
        default: Array("prompt".utf8)
        }
    }

    private static func event(_ name: HookEvent.Name, _ fields: HookFields, keepsContent: Bool) -> HookEvent {
        func text(_ limit: Int, _ names: String...) -> [UInt8]? {
            keepsContent ? names.lazy.compactMap { fields.text(limit, $0) }.first : nil
        }
        switch name {
        case .sessionStart: return .sessionStarted(source: fields.text(64, "source"))
        case .userPromptSubmit, .userPromptSubmitted, .subagentStart, .taskCreated, .preTask:
            let subject = text(maximumText, "prompt", "task_subject", "description", "taskType", "agent_type", "taskId")
            return .taskStarted(text: subject ?? [])
        case .preToolUse: return fields.file.map { .willEdit(file: $0) } ?? .ignored
        case .postToolUse, .postEdit:
            return fields.edit(isKnown: name == .postEdit, keepsContent: keepsContent).map { .edited($0) } ?? .ignored
        case .postToolUseFailure:
            // What a command printed may be anything; of a file it is known what it may be.
            let file = fields.file
            return .toolFailed(
                tool: fields.text(64, "tool_name", "toolName"), file: file,
                error: file == nil || fields.touchesSecret ? nil : text(512, "error"))
        case .stop, .subagentStop:
            return .spoke(
                message: text(maximumMessage, "last_assistant_message", "message"), isSubagent: name == .subagentStop)
        case .stopFailure, .errorOccurred:
            return .taskEnded(text: fields.touchesSecret ? nil : text(512, "error"), hasFailed: true)
        case .taskCompleted: return .taskEnded(text: text(maximumText, "task_subject"), hasFailed: false)
        case .postTask: return .taskEnded(text: nil, hasFailed: fields.bool("success") == false)
        case .sessionEnd: return .sessionEnded(reason: text(64, "reason"))
        case .preCompact, .postCompact, .notification: return .noted
        }
    }

    /// The same as JSON, from which the same is read again: bounded, and without what is not to be kept.
    package var json: [UInt8] {
        var object = JSONWriter()
        object.add("hook_event_name", name)
        if let session { object.add("session_id", session) }
        if let folder { object.add("cwd", folder) }
        if let subagent { object.add("agent_id", subagent) }
        if let task { object.add("task_id", task) }
        object.add("task_type", taskType)
        if isTrial { object.add("trial", true) }
        func add(_ name: StaticString, _ text: [UInt8]?) { if let text { object.add(name, text) } }
        switch event {
        case .sessionStarted(let source): add("source", source)
        case .taskStarted(let text): object.add("prompt", text)
        case .willEdit(let file): object.add("file", file)
        case .edited(let edit):
            object.add("file", edit.file)
            object.add("changes", raw: edit.changesJSON)
            object.add("change_count", number: edit.count)
            if let id = edit.id { object.add("tool_use_id", id) }
        case .toolFailed(let tool, let file, let error):
            add("tool_name", tool)
            add("file", file)
            add("error", error)
        case .spoke(let message, _): add("message", message)
        case .taskEnded(let text, let hasFailed):
            add(hasFailed ? "error" : "task_subject", text)
            object.add("success", !hasFailed)
        case .sessionEnded(let reason): add("reason", reason)
        case .noted, .ignored: break
        }
        return object.finish()
    }
}
