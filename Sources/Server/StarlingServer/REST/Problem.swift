import Access
import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol

/// What went wrong with a request over HTTP, as problem details (RFC 9457) with the protocol's own codes.
struct Problem: Error {
    var status: HTTPResponse.Status
    var code: String
    var detail: String
    var hint: String?
    /// Whether the same request may succeed later.
    var mayRetry: Bool
    /// After how long it may be tried again, in milliseconds.
    var retryAfter: Int64?
    /// Further members, each as its JSON.
    var members: [(name: String, json: [UInt8])] = []

    init(_ code: ErrorCode, _ detail: String, hint: String? = nil) {
        status = Self.status(of: code)
        self.code = code.rawValue
        self.detail = detail
        self.hint = hint
        mayRetry = code.mayRetry
    }

    /// What no message of the protocol is answered with.
    init(_ status: HTTPResponse.Status, _ code: String, _ detail: String) {
        self.status = status
        self.code = code
        self.detail = detail
        mayRetry = false
    }

    init(_ error: WireError) {
        self.init(error.code, error.message, hint: error.hint)
        retryAfter = error.retryAfter.flatMap { Int64(exactly: $0) }
    }

    init(_ end: ConnectionEnd) {
        // What was asked may have been carried out, whatever ended the connection.
        guard !end.wasSent else {
            self.init(.outcomeUnknown, "the connection ended before the answer: \(end.reason)")
            return
        }
        self.init(end.code ?? .overloaded, end.reason)
    }

    init(_ refusal: AccessRefusal) {
        switch refusal {
        case .invalid(let reason): self.init(.unauthorized, reason)
        case .expired: self.init(.accessExpired, "the time of these credentials is over")
        case .changed: self.init(.unauthorized, "these credentials are no longer valid")
        case .busy: self.init(.overloaded, "too many credentials are being checked; try again")
        }
    }

    /// What an answer has against a request: an `error`, `refused`, or a write that was not applied. nil where it has nothing.
    init?(_ answer: JSONObject) {
        switch answer.string("type") {
        case "error":
            guard let code = answer.string("code").flatMap(ErrorCode.init(rawValue:)) else { return nil }
            let hint = answer.string("hint")
            // Who has shown credentials, and is forbidden something all the same, is not to be told to show some.
            let isKnown = code == .forbidden && hint == nil
            self.init(code, answer.string("message") ?? "", hint: isKnown ? nil : Self.hint(code) ?? hint)
            retryAfter = answer.integer("retry_after_ms")
        case "refused":
            guard let code = answer.string("code").flatMap(ErrorCode.init(rawValue:)) else { return nil }
            self.init(code, Self.words(for: code, answer))
            members = answer.members.filter { ["key", "holder", "expires_at"].contains($0.name) }.map {
                ($0.name, $0.value)
            }
        case "ack" where answer.bool("applied") == false:
            guard answer.string("reason") != "absent" else {
                self.init(.notFound, "absent", "the key \(answer.string("key") ?? "") has no value")
                return
            }
            let isCondition = answer.string("reason") == "condition"
            self.init(
                isCondition ? .preconditionFailed : .conflict, isCondition ? "condition" : "superseded",
                isCondition
                    ? "what was to be in place is not" : "a greater version is in place already, and stays")
            members = answer.members.filter { ["key", "current", "winner"].contains($0.name) }.map {
                ($0.name, $0.value)
            }
        case "batched" where answer.bool("applied") == false: self.init(refusedBatch: answer)
        default: return nil
        }
    }

    /// What keeps a batch from being applied: the first of it says which status that has.
    private init(refusedBatch answer: JSONObject) {
        let first = (answer.array("failed") ?? []).first.flatMap { try? JSONObject($0) }
        let reason = first?.string("reason") ?? "condition"
        let key = first?.string("key") ?? ""
        switch ErrorCode(rawValue: reason) {
        case nil:
            self.init(.preconditionFailed, reason, "nothing was applied: what was to be in place of \(key) is not")
        case .held:
            self.init(
                .held, "nothing was applied: \(key) is under a claim",
                hint: "the holder gives it up in a batch by release with its fence")
        case .tooManyKeys: self.init(.tooManyKeys, "nothing was applied: \(key) would be one key too many")
        case let code?: self.init(code, "nothing was applied: the claim of \(key) is not in force")
        }
        members = answer.members.filter { $0.name == "failed" }.map { ($0.name, $0.value) }
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

    /// What to do over HTTP, where the protocol's own hint names a message; nil where it does not.
    private static func hint(_ code: ErrorCode) -> String? {
        switch code {
        case .unauthorized, .forbidden: "Authorization: Bearer <token> says who asks"
        case .held: "PATCH and DELETE /v1/claims/{key} with the fence are the holder's"
        case .resyncRequired, .badCursor: "ask without Last-Event-ID for everything anew"
        default: nil
        }
    }

    static func status(of code: ErrorCode) -> HTTPResponse.Status {
        switch code {
        case .badJSON, .badMessage, .unknownType, .missingField, .badKey, .badPattern, .badVersion, .badCursor,
            .duplicateSubscription, .unknownSubscription, .drift, .cycle, .missingDependency:
            .badRequest
        case .unauthorized, .accessExpired: .unauthorized
        case .forbidden, .tooManyKeys, .notMember: .forbidden
        case .absent: .notFound
        case .held, .exists, .staleFence, .staleVersion, .guarded, .notReady: .conflict
        case .resyncRequired: .gone
        case .tooLarge: .contentTooLarge
        case .rateLimited, .tooManyHolds, .tooManySubscriptions, .tooManyTasks, .tooManyWaiters, .inboxFull:
            .tooManyRequests
        case .outcomeUnknown: .internalServerError
        case .overloaded, .storageFailed, .accessChanged, .shuttingDown, .idle, .stalled: .serviceUnavailable
        }
    }

    var headers: HTTPFields {
        var headers: HTTPFields = [.contentType: "application/problem+json"]
        if status == .unauthorized { headers[.wwwAuthenticate] = "Bearer" }
        if let retryAfter { headers[.retryAfter] = "\((retryAfter + 999) / 1_000)" }
        if retryAfter == nil, status == .serviceUnavailable { headers[.retryAfter] = "1" }
        return headers
    }

    var response: Response {
        Response(status: status, headers: headers, body: ResponseBody(byteBuffer: body))
    }

    var body: ByteBuffer {
        var body = ByteBuffer()
        body.writeString("{\"type\":\"about:blank\",\"title\":")
        body.writeJSONString(status.reasonPhrase)
        body.writeString(",\"status\":\(status.code),\"detail\":")
        body.writeJSONString(detail)
        body.writeString(",\"code\":")
        body.writeJSONString(code)
        body.writeString(",\"retry\":\(mayRetry)")
        if let hint {
            body.writeString(",\"hint\":")
            body.writeJSONString(hint)
        }
        for (name, json) in members {
            body.writeString(",")
            body.writeJSONString(name)
            body.writeString(":")
            body.writeBytes(json)
        }
        body.writeString("}\n")
        return body
    }
}
