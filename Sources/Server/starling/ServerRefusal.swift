import SyncProtocol

/// The server answered a request with an error.
struct ServerRefusal: Error, CustomStringConvertible {
    let description: String

    init(_ reply: JSONObject) {
        let code = reply.string("code") ?? "error"
        let message = reply.string("message") ?? "the server gave no reason"
        let hint = reply.string("hint").map { " (\($0))" } ?? ""
        description = "\(code): \(message)\(hint)"
    }
}
