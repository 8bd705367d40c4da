import Foundation
import ModelContext
import NIOCore
import SyncClient
import SyncProtocol

/// Passes messages of the Model Context Protocol on: lines of standard input to a server's `/mcp`, and what that answers to standard output.
actor MCPBridge {
    /// How long a server may take to be there, at first and when it restarts.
    private static let firstPatience = Duration.seconds(3)
    private static let patience = Duration.seconds(15)
    private static let pause = Duration.milliseconds(200)
    private static let longestPause = Duration.seconds(30)
    /// How many requests are under way at a time, each on a connection.
    private static let maximumCalls = 200

    /// What a client has that said `initialize`.
    private struct Session {
        /// What it said, to say it again to a server that does not know of it.
        let beginning: [UInt8]
        var id: String
        var version: String
        var agent: String
        /// What it subscribed to.
        var uris: Set<String> = []
        var lastEvent: String?
    }

    private let server: HTTPConnections
    private let path: String
    private let token: String?
    /// Makes a name of the client's.
    private let agent: @Sendable (_ client: String?) -> String
    /// Is called where no server is there.
    private let start: (@Sendable () async throws -> Void)?
    private let print: @Sendable ([UInt8]) -> Void
    private var session: Session?
    /// Whether there has been an answer.
    private var wasReached = false
    private var isEnding = false
    private var calls: [RPCID: Task<Void, Never>] = [:]
    private var stream: Task<Void, Never>?
    private var renewal: Task<Bool, Never>?

    init(
        _ server: HTTPConnections, path: String, token: String?, agent: @escaping @Sendable (String?) -> String,
        start: (@Sendable () async throws -> Void)?, print: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.server = server
        self.path = path
        self.token = token
        self.agent = agent
        self.start = start
        self.print = print
    }

    // MARK: In

    /// Takes a line. What has to be known before the next one is, when this returns.
    func take(_ line: [UInt8]) async {
        let message = ForwardedMessage(line)
        switch message.kind {
        case .initialize: await begin(line, message)
        case .cancelled(let id) where session == nil:
            // Without a session it is the end of its request that says so.
            calls.removeValue(forKey: id)?.cancel()
        case .cancelled, .notification, .other:
            await pass(line, message)
            if message.method == "notifications/initialized" { listen() }
        case .request:
            guard let id = message.id else { return }
            guard calls[id] == nil else {
                return message.failure("a request by this id is under way").map(print) ?? ()
            }
            while calls.count >= Self.maximumCalls { try? await Task.sleep(for: .milliseconds(5)) }
            calls[id] = Task {
                await pass(line, message)
                calls[id] = nil
            }
        }
    }

    /// Waits for the answers to what is under way.
    func settle(within patience: Duration) async {
        let end = ContinuousClock.now + patience
        while !calls.isEmpty, ContinuousClock.now < end { try? await Task.sleep(for: .milliseconds(5)) }
    }

    /// The client is gone.
    func end() async {
        isEnding = true
        for call in calls.values { call.cancel() }
        for call in calls.values { await call.value }
        stream?.cancel()
        if let session { await delete(session) }
        server.close()
    }

    private func delete(_ session: Session) async {
        try? await server.send(.init("DELETE", path: path, headers: headers + sessionHeaders(session))) { _, _ in }
    }

    // MARK: Requests

    private var headers: [(name: String, value: String)] {
        token.map { [("Authorization", "Bearer \($0)")] } ?? []
    }

    private func sessionHeaders(_ session: Session) -> [(name: String, value: String)] {
        [("Mcp-Session-Id", session.id), ("MCP-Protocol-Version", session.version)]
    }

    private func post(_ line: [UInt8], _ more: [(name: String, value: String)]) -> HTTPConnections.Request {
        let always = [
            ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"),
        ]
        return .init("POST", path: path, headers: always + headers + more, body: line)
    }

    /// Sends a request; to a server that is not there once it is.
    private func send(_ request: HTTPConnections.Request, _ read: @escaping HTTPConnections.Reader) async throws {
        let end = ContinuousClock.now + (wasReached ? Self.patience : Self.firstPatience)
        var mayStart = true
        var last: ClientError?
        while true {
            do {
                try await server.send(request) { [weak self] head, body in
                    await self?.reached()
                    try await read(head, &body)
                }
                return
            } catch let error as HTTPConnections.NotSent {
                if mayStart, let start {
                    mayStart = false
                    try await start()
                    continue
                }
                guard ContinuousClock.now < end, !Task.isCancelled else { throw error.reason }
                last = error.reason
                try? await Task.sleep(for: Self.pause)
            } catch {
                // What cuts it off says less than what kept it waiting.
                throw last ?? error
            }
        }
    }

    private func reached() { wasReached = true }

    /// Passes a message on, and what is answered back.
    private func pass(_ line: [UInt8], _ message: ForwardedMessage, isAgain: Bool = false) async {
        let used = message.isModern ? nil : session
        let more =
            message.headers
            + (used.map { sessionHeaders($0) } ?? [("Starling-Agent", HeaderText.encode(agent(message.client)))])
        note(line, message)
        let answers = Answers(message, print)
        do {
            try await send(post(line, more)) { head, body in try await answers.read(head, &body) }
        } catch {
            // Nobody wants to know.
            if Task.isCancelled, !isEnding { return }
            answers.fail("\(error)")
            return
        }
        guard answers.sessionIsUnknown, let used else {
            // A stream can end in good order without it.
            return answers.fail("the server ended the answer before it was there")
        }
        // The server has been started anew.
        guard !isAgain, await renew(used) else { return answers.fail("the MCP session is over") }
        await pass(line, message, isAgain: true)
    }

    /// Remembers what a client has subscribed to.
    private func note(_ line: [UInt8], _ message: ForwardedMessage) {
        guard let uri = (try? JSONObject(line))?.object("params")?.string("uri") else { return }
        switch message.method {
        case "resources/subscribe": session?.uris.insert(uri)
        case "resources/unsubscribe": session?.uris.remove(uri)
        default: break
        }
    }

    // MARK: Sessions

    private func begin(_ line: [UInt8], _ message: ForwardedMessage) async {
        let name = agent(message.client)
        let answers = Answers(message, print)
        do {
            try await send(post(line, [("Starling-Agent", HeaderText.encode(name))])) { head, body in
                try await answers.read(head, &body)
            }
        } catch {
            return answers.fail("\(error)")
        }
        guard let id = answers.session, let version = answers.version else { return }
        if let session { await delete(session) }
        session = Session(beginning: line, id: id, version: version, agent: name)
    }

    /// Begins a session anew in the place of one that the server does not know.
    ///
    /// - Returns: whether there is one.
    private func renew(_ old: Session) async -> Bool {
        guard session?.id == old.id else { return session != nil }
        if let renewal { return await renewal.value }
        let task = Task { await begunAnew(old) }
        renewal = task
        defer { renewal = nil }
        return await task.value
    }

    private func begunAnew(_ old: Session) async -> Bool {
        let message = ForwardedMessage(old.beginning)
        let answers = Answers(message) { _ in }
        try? await send(post(old.beginning, [("Starling-Agent", HeaderText.encode(old.agent))])) { head, body in
            try await answers.read(head, &body)
        }
        guard let id = answers.session, let version = answers.version else { return false }
        var new = Session(beginning: old.beginning, id: id, version: version, agent: old.agent)
        new.uris = session?.uris ?? old.uris
        session = new
        await tell(#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, new)
        for (number, uri) in new.uris.sorted().enumerated() {
            await tell(
                #"{"jsonrpc":"2.0","id":"again-\#(number)","method":"resources/subscribe","params":{"uri":\#(JSON.quote(uri))}}"#,
                new)
            // What changed in between nobody knows.
            print(
                Array(
                    #"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":\#(JSON.quote(uri))}}"#
                        .utf8))
        }
        listen()
        return true
    }

    private func tell(_ text: String, _ session: Session) async {
        try? await send(post(Array(text.utf8), sessionHeaders(session))) { _, body in
            while try await body.next() != nil {}
        }
    }

    // MARK: Notifications

    private func listen() {
        stream?.cancel()
        stream = Task {
            var pause = Self.pause
            while !Task.isCancelled, let session {
                switch await listen(session) {
                case 404?:
                    // Where it is renewed there is another stream.
                    _ = await renew(session)
                    return
                case 200?: pause = Self.pause
                case 401?, 403?, 405?, 406?: return
                case _?, nil: pause = min(pause * 2, Self.longestPause)
                }
                try? await Task.sleep(for: pause)
            }
        }
    }

    /// Passes notifications on until the stream ends.
    ///
    /// - Returns: the status; nil: there was no answer.
    private func listen(_ session: Session) async -> Int? {
        let last = session.lastEvent.map { [("Last-Event-ID", $0)] } ?? []
        let request = HTTPConnections.Request(
            "GET", path: path,
            headers: [("Accept", "text/event-stream")] + headers + sessionHeaders(session) + last)
        let answers = Answers(nil, print) { [weak self] id in await self?.note(id, of: session.id) }
        try? await send(request) { head, body in try await answers.read(head, &body) }
        return answers.status
    }

    private func note(_ event: String, of id: String) {
        if session?.id == id { session?.lastEvent = event }
    }
}
