import SyncProtocol

/// A register that is kept up while there is a connection.
struct Presence: Sendable {
    let key: String
    let value: String
    let metadata: String?
    /// When it is to be announced again, after the server refused for the time being.
    var announceAt = Double.infinity
    /// The request that announces it.
    var request: Int?
}

/// Questions to the server, and what is kept up while there is a connection.
extension Engine {
    /// Asks the server; the answer comes as an effect.
    ///
    /// - Returns: the request's number.
    /// - Throws: ``StarlingError`` `offline`, `too_large`.
    mutating func request(_ message: Message, _ type: String) throws(StarlingError) -> Int {
        guard isGreeted else {
            let urls = options.urls.joined(separator: ", ")
            throw StarlingError("offline", "there is no connection to \(urls); \(type) is not queued")
        }
        var message = message
        message.add("id", "r\(nextRequest)")
        let bytes = message.bytes
        try checkSize(bytes, of: type)
        requests[nextRequest] = type
        effects.append(.send(bytes))
        defer { nextRequest += 1 }
        return nextRequest
    }

    mutating func answerRequest(_ number: Int, _ message: JSONObject) {
        let isError = message.string("type") == "error"
        let presence = presences.values.first { $0.request == number }
        if isError, message.bool("retry") == true, let presence {
            let pause = Double(message.integer("retry_after_ms") ?? 0) + 2_000 * options.random()
            let announceAt = now + pause
            presences[presence.key]?.announceAt = announceAt
        } else if isError, let presence {
            effects.append(.log(.warning, "presence \(presence.key): \(StarlingError(message))"))
        }
        effects.append(.answered(request: number, isError ? .failure(StarlingError(message)) : .success(message)))
    }

    mutating func failRequests() {
        for (number, type) in requests.sorted(by: { $0.key < $1.key }) {
            let lost = "the connection was lost before the answer to \(type)"
            let error =
                ["get", "list"].contains(type)
                ? StarlingError("offline", lost)
                : StarlingError("outcome_unknown", "\(lost); it may have been carried out")
            effects.append(.answered(request: number, .failure(error)))
        }
        requests = [:]
    }

    /// Keeps a register up for as long as there is a connection, and again on the next one.
    mutating func present(_ presence: Presence) {
        presences[presence.key] = presence
        if isGreeted { announce(presence.key) }
    }

    mutating func announce(_ key: String) {
        guard let presence = presences[key] else { return }
        var message = Message("broadcast")
        message.add("key", presence.key)
        message.add("value", raw: presence.value)
        message.add("metadata", raw: presence.metadata)
        message.add("until", "disconnect")
        let request = try? request(message, "broadcast")
        presences[key]?.request = request
        presences[key]?.announceAt = .infinity
    }

    /// Announces what the server refused, when it is time.
    mutating func announceAgain() {
        for key in presences.filter({ $0.value.announceAt <= now }).map(\.key) { announce(key) }
    }
}
