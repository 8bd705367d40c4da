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

    /// What an answer has against a request; nil where it has nothing.
    init?(_ answer: JSONObject) {
        guard let refusal = Refusal(answer) else { return nil }
        switch refusal.kind {
        case .code(let code):
            // Who has shown credentials, and is forbidden something all the same, is not to be told to show some.
            let isKnown = code == .forbidden && refusal.hint == nil
            self.init(code, refusal.message, hint: isKnown ? nil : Self.hint(code) ?? refusal.hint)
        case .notApplied(let reason):
            let status: HTTPResponse.Status =
                switch reason {
                case "absent": .notFound
                case "superseded": .conflict
                default: .preconditionFailed
                }
            self.init(status, reason, refusal.message)
        }
        retryAfter = refusal.retryAfter
        members = refusal.members
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
