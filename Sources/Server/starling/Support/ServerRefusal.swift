import SyncProtocol

/// The server answered a request with an error.
struct ServerRefusal: Error, CustomStringConvertible {
    let description: String
    /// Of the error.
    let code: String

    init(_ reply: JSONObject) {
        code = reply.string("code") ?? "error"
        let code = reply.string("code") ?? "error"
        let message = reply.string("message") ?? "the server gave no reason"
        // The server's hint is for who writes messages.
        let hint =
            code == "unauthorized" ? " (--token, or STARLING_TOKEN)" : reply.string("hint").map { " (\($0))" } ?? ""
        description = "\(code): \(message)\(hint)"
    }
}
