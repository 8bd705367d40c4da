import Registers
import SyncProtocol

/// What happened, as far as anything is done about it. Harnesses call the same by several names, and have events that are of no use here, or that nobody
/// knows of yet: those are ``ignored``.
package enum HookEvent: Equatable, Sendable {
    /// A session begins, or goes on.
    case sessionStarted(source: [UInt8]?)
    /// Somebody has asked for something: what, in words.
    case taskStarted(text: [UInt8])
    /// A file is about to be changed.
    case willEdit(file: [UInt8])
    case edited(FileEdit)
    case toolFailed(tool: [UInt8]?, file: [UInt8]?, error: [UInt8]?)
    /// An agent has said its last for now.
    case spoke(message: [UInt8]?, isSubagent: Bool)
    case taskEnded(text: [UInt8]?, hasFailed: Bool)
    case sessionEnded(reason: [UInt8]?)
    /// Something that is worth a line in the log, and no more.
    case noted
    case ignored

    /// The names of Claude Code, of GitHub Copilot's CLI and of the seed, in small letters and without hyphens.
    enum Name: String, CaseIterable {
        case sessionStart = "sessionstart"
        case userPromptSubmit = "userpromptsubmit"
        case userPromptSubmitted = "userpromptsubmitted"
        case subagentStart = "subagentstart"
        case taskCreated = "taskcreated"
        case preTask = "pretask"
        case preToolUse = "pretooluse"
        case postToolUse = "posttooluse"
        case postEdit = "postedit"
        case postToolUseFailure = "posttoolusefailure"
        case stop
        case stopFailure = "stopfailure"
        case subagentStop = "subagentstop"
        case taskCompleted = "taskcompleted"
        case postTask = "posttask"
        case sessionEnd = "sessionend"
        case preCompact = "precompact"
        case postCompact = "postcompact"
        case notification
        case errorOccurred = "erroroccurred"

        init?(_ name: String) { self.init(rawValue: name.lowercased().filter { $0 != "-" }) }

        /// Whether somebody has asked for something, and not an agent of another.
        var isPrompt: Bool { self == .userPromptSubmit || self == .userPromptSubmitted || self == .preTask }

        /// Whether it is one of the seed's, whose answers are the seed's.
        var isSeed: Bool { self == .preTask || self == .postEdit || self == .postTask }
    }
}
