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
    /// How long a question may wait to be sent, in milliseconds.
    static let patience = 10_000.0

    /// Asks the server, behind the writes that were made before it; the answer comes as an effect. Waits for a connection that is being
    /// made.
    ///
    /// - Parameter timeout: how long it may wait to be sent, in milliseconds.
    /// - Returns: the request's number.
    /// - Throws: ``StarlingError`` `offline` where there is no connection, and none being made; `too_large`, `closed`.
    mutating func request(
        _ message: Message, _ type: String, timeout: Double = patience
    ) throws(StarlingError) -> Int {
        if phase == .closed { throw StarlingError("closed", "the client was closed") }
        if phase == .idle { throw offline(type) }
        var message = message
        message.add("id", "r\(questions.next)")
        let bytes = message.bytes
        try checkSize(bytes, of: type)
        let number = questions.ask(type, bytes, behind: outbox.nextSequence - 1, deadline: now + timeout)
        flush()
        return number
    }

    /// Sends what was asked before the first write that is not on its way.
    mutating func sendQuestions() {
        guard questions.hasWaiting else { return }
        for question in questions.take(before: outbox.firstWaitingSequence) {
            send(question.bytes, as: "r\(question.number)")
        }
    }

    func offline(_ type: String) -> StarlingError {
        if phase == .open { return StarlingError("timeout", "\(type) waited too long for the writes before it") }
        let urls = options.urls.joined(separator: ", ")
        let why = lastError.map { ": \($0)" } ?? ""
        return StarlingError("offline", "there is no connection to \(urls)\(why); \(type) is not queued")
    }

    mutating func giveUpLateQuestions() {
        for question in questions.takeLate(at: now) {
            settle(question.number, .failure(offline(question.type)))
        }
    }

    /// There will be no connection to send them on.
    mutating func giveUpQuestions(_ error: StarlingError) {
        for question in questions.takeWaiting() {
            settle(question.number, .failure(error))
        }
    }

    /// Whether something was made that has no outcome yet.
    var hasUnsettled: Bool { outbox.count > 0 || !questions.isEmpty }

    // MARK: What is sent, and why nothing is

    mutating func send(_ bytes: [UInt8], as id: String) {
        asked.sent(.other(id))
        effects.append(.send(bytes))
    }

    mutating func answered(_ id: String?) { asked.answered(id.map { .other($0) }) }

    /// Takes note of why a connection ended, and says it: once, however often it is tried.
    mutating func note(_ error: StarlingError, isFinal: Bool) {
        if isFinal { return giveUpOn(error) }
        lastError = error
        verdicts[edge] = nil
        if phase == .open {
            effects.append(.log(.info, "the connection to \(edge) ended: \(error)"))
        } else {
            let reason = "\(error)"
            tell(.warning, reason.hasPrefix("cannot connect") ? reason : "cannot connect to \(edge): \(reason)")
        }
    }

    /// To try this one again cannot help, until somebody changes something. Once that goes for all, whoever waits is told. It is tried again
    /// all the same, at times.
    mutating func giveUpOn(_ error: StarlingError) {
        (lastError, verdicts[edge]) = (error, error)
        tell(.error, "\(edge): \(error)")
        guard hasVerdict else { return }
        effects.append(.verdict(error))
        giveUpQuestions(error)
    }

    private mutating func tell(_ level: LogLevel, _ text: String) {
        if text != told[edge] { effects.append(.log(level, text)) }
        told[edge] = text
    }

    // MARK: Answers

    /// The answer to anything that was sent, or an error that answers nothing.
    mutating func answer(_ message: JSONObject) {
        learn(from: message)
        let type = message.string("type") ?? ""
        var message = message
        if type == "error", message.raw("id") == nil, let first = asked.first {
            // What the server could not read as far as the id: answers come in order, so it is the first that has none.
            message = message.adding("id", first.json)
        }
        let wireID = message.integer("id").map { Int($0) }
        asked.answered(wireID.map { .write($0) } ?? message.string("id").map { .other($0) })
        if type == "error", message.string("code") == "unauthorized", message.string("id") != "hello" {
            // It would say so of all that we ask: nothing that waits is to be given up for it.
            if let id = message.string("id") { answerRequest(id, message) }
            return unwelcome(message)
        }
        if let wireID, answerWrite(wireID, message) { return }
        if ["ack", "claimed", "released", "batched"].contains(type) { remember(message) }
        let isError = type == "error"
        guard let id = message.string("id") else {
            if isError { effects.append(.log(.warning, StarlingError(message).description)) }
            return
        }
        if answerRequest(id, message) || !isError { return }
        switch id {
        case "hello": unwelcome(message)
        case "ping": pong(nil)
        default: subscriptionRefused(id, message)
        }
    }

    /// Whether something was sent with this id that is not answered.
    func isAsked(_ id: String?) -> Bool {
        guard let id, id.hasPrefix("r"), let number = Int(id.dropFirst()) else { return false }
        return questions.isSent(number)
    }

    /// - Returns: whether the id is that of a request.
    @discardableResult
    mutating func answerRequest(_ id: String, _ message: JSONObject) -> Bool {
        guard id.hasPrefix("r"), let number = Int(id.dropFirst()), questions.answered(number) else { return false }
        answerRequest(number, message)
        return true
    }

    private mutating func answerRequest(_ number: Int, _ message: JSONObject) {
        let isError = message.string("type") == "error"
        let presence = presences.values.first { $0.request == number }
        if isError, message.bool("retry") == true, let presence {
            let pause = Double(message.integer("retry_after_ms") ?? 0) + 2_000 * options.random()
            let announceAt = now + pause
            presences[presence.key]?.announceAt = announceAt
        } else if isError, let presence {
            effects.append(.log(.warning, "presence \(presence.key): \(StarlingError(message))"))
        }
        settle(number, isError ? .failure(StarlingError(message)) : .success(message))
    }

    private mutating func settle(_ number: Int, _ answer: Result<JSONObject, StarlingError>) {
        noteRenewal(number, answer)
        effects.append(.answered(request: number, answer))
    }

    mutating func failRequests() {
        for (number, type) in questions.takeSent() {
            let lost = "the connection was lost before the answer to \(type)"
            let error =
                ["get", "list"].contains(type)
                ? StarlingError("offline", lost)
                : StarlingError("outcome_unknown", "\(lost); it may have been carried out")
            settle(number, .failure(error))
        }
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
