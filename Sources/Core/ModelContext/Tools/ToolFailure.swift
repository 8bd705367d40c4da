import Agents
package import SyncProtocol

/// Why something was not done, in words for whoever asked: most often a model, which reads what to do next.
package struct ToolFailure: Error, Sendable {
    package var code: String
    package var message: String
    package var hint: String?
    package var mayRetry: Bool
    /// In milliseconds.
    package var retryAfter: Int64?
    /// What else is known, each as its JSON.
    package var members: [(name: String, json: [UInt8])] = []

    package init(_ code: ErrorCode, _ message: String, hint: String? = nil) {
        self.code = code.rawValue
        self.message = message
        self.hint = hint
        mayRetry = code.mayRetry
    }

    package init(_ refusal: Refusal) {
        code = refusal.name
        message = refusal.message
        hint = Self.hint(refusal) ?? refusal.hint
        mayRetry = refusal.mayRetry
        retryAfter = refusal.retryAfter
        members = refusal.members
    }

    /// Something with the arguments.
    static func argument(_ message: String, hint: String? = nil) -> ToolFailure {
        ToolFailure(.badMessage, message, hint: hint)
    }

    /// What to do in terms of tools, where the protocol's own hint names messages.
    private static func hint(_ refusal: Refusal) -> String? {
        switch refusal.kind {
        case .notApplied("condition"): "read it again, and write with expect set to the version that is there now"
        case .notApplied("absent"): "there is nothing under that name; look it up first"
        case .notApplied: nil
        case .code(.staleFence):
            "the task or claim is not yours any more: stop that work, its result will not count; ask for the next one"
        case .code(.held): "somebody else holds it: wait until the claim is over, or do something else"
        case .code(.guarded): "such keys are written by the swarm, task and message tools only"
        case .code(.forbidden): "the credentials of this connection do not allow it; another name or key may be allowed"
        case .code(.absent): "check the names; swarm_init makes a swarm, task_submit a task"
        case .code(.notMember): "join with swarm_join first; the receiver has to have joined too"
        case .code(.exists): "choose another id, or use what is there"
        case .code(.tooManyWaiters): "you wait in this swarm already: take that answer first"
        default: nil
        }
    }

    /// Whether it is what was asked for that is wrong, and not the server.
    var isRequestsFault: Bool {
        switch ErrorCode(rawValue: code) {
        case .overloaded, .storageFailed, .outcomeUnknown, .shuttingDown, .accessChanged, .rateLimited: false
        default: true
        }
    }

    /// Message and hint.
    var sentence: String { hint.map { "\(message); \($0)" } ?? message }

    var json: [UInt8] {
        var object = JSONWriter()
        object.add("code", code)
        object.add("message", message)
        if let hint { object.add("hint", hint) }
        object.add("retry", mayRetry)
        if let retryAfter { object.add("retry_after_ms", number: retryAfter) }
        for (name, json) in members { object.add(named: name, raw: json) }
        return object.finish()
    }
}
