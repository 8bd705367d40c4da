/// What an answer of the protocol has against a request: an `error`, `refused`, or a write that was not applied.
package struct Refusal: Error, Sendable {
    /// What kind of refusal it is.
    package enum Kind: Equatable, Sendable {
        case code(ErrorCode)
        /// A write was judged, and not applied: the `reason` that the answer has.
        case notApplied(String)
    }

    package var kind: Kind
    /// A sentence for people.
    package var message: String
    package var hint: String?
    /// After how long it may be tried again, in milliseconds.
    package var retryAfter: Int64?
    /// What else is known, each as its JSON.
    package var members: [(name: String, json: [UInt8])] = []

    package init(_ code: ErrorCode, _ message: String, hint: String? = nil) {
        kind = .code(code)
        self.message = message
        self.hint = hint
    }

    package init(_ error: WireError) {
        self.init(error.code, error.message, hint: error.hint)
        retryAfter = error.retryAfter.flatMap { Int64(exactly: $0) }
    }

    private init(notApplied reason: String, _ message: String) {
        kind = .notApplied(reason)
        self.message = message
    }

    /// The code, or the reason, as it is on the wire.
    package var name: String {
        switch kind {
        case .code(let code): code.rawValue
        case .notApplied(let reason): reason
        }
    }

    package var mayRetry: Bool {
        switch kind {
        case .code(let code): code.mayRetry
        case .notApplied: false
        }
    }

    /// Reads an answer; nil where it has nothing against the request.
    package init?(_ answer: JSONObject) {
        switch answer.string("type") {
        case "error":
            guard let code = answer.string("code").flatMap(ErrorCode.init(rawValue:)) else { return nil }
            self.init(code, answer.string("message") ?? "", hint: answer.string("hint"))
            retryAfter = answer.integer("retry_after_ms")
        case "refused":
            guard let code = answer.string("code").flatMap(ErrorCode.init(rawValue:)) else { return nil }
            self.init(code, Self.words(for: code, answer))
            take(["key", "holder", "expires_at"], of: answer)
        case "ack" where answer.bool("applied") == false:
            switch answer.string("reason") {
            case "absent":
                self.init(notApplied: "absent", "the key \(answer.string("key") ?? "") has no value")
                return
            case "condition": self.init(notApplied: "condition", "what was to be in place is not")
            default: self.init(notApplied: "superseded", "a greater version is in place already, and stays")
            }
            take(["key", "current", "winner"], of: answer)
        case "batched" where answer.bool("applied") == false: self.init(batch: answer)
        default: return nil
        }
    }

    private mutating func take(_ names: Set<String>, of answer: JSONObject) {
        members = answer.members.filter { names.contains($0.name) }.map { ($0.name, $0.value) }
    }

    /// What keeps a batch from being applied: the first of it says what that is.
    private init(batch answer: JSONObject) {
        let first = (answer.array("failed") ?? []).first.flatMap { try? JSONObject($0) }
        let reason = first?.string("reason") ?? "condition"
        let key = first?.string("key") ?? ""
        switch ErrorCode(rawValue: reason) {
        case nil:
            self.init(notApplied: reason, "nothing was applied: what was to be in place of \(key) is not")
        case .held:
            self.init(
                .held, "nothing was applied: \(key) is under a claim",
                hint: "the holder gives it up in a batch by release with its fence")
        case .tooManyKeys: self.init(.tooManyKeys, "nothing was applied: \(key) would be one key too many")
        case let code?: self.init(code, "nothing was applied: the claim of \(key) is not in force")
        }
        take(["failed"], of: answer)
    }

    private static func words(for code: ErrorCode, _ answer: JSONObject) -> String {
        let key = answer.string("key") ?? ""
        return switch code {
        case .held: "\(key) is held by \(answer.string("holder") ?? "somebody else")"
        case .exists: "\(key) has a value that no claim made"
        case .staleFence: "the claim of \(key) is not in force any more"
        default: "\(key): \(code.rawValue)"
        }
    }
}
