import SyncProtocol

/// What went wrong: a code of `protocol/README.md`, section Errors, or one of the client's own (`README.md`, Errors).
public struct StarlingError: Error, Equatable, CustomStringConvertible, Sendable {
    /// What kind of problem it is, such as `held` or `offline`.
    public let code: String
    /// What was wrong, where, and what to do.
    public let description: String
    /// Whether the server says that the same may succeed later, and after how long.
    private(set) var mayRetry = false
    private(set) var retryAfter = Duration.zero

    /// Makes an error, for stores and tokens of one's own.
    public init(_ code: String, _ description: String) {
        self.code = code
        self.description = description
    }
}

extension StarlingError {
    /// What an `error` of the server says.
    init(_ message: JSONObject) {
        let code = message.string("code") ?? "unknown"
        self.init(code, message.string("message") ?? code)
        mayRetry = message.bool("retry") == true
        retryAfter = .milliseconds(message.integer("retry_after_ms") ?? 0)
    }
}
