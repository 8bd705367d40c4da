import Access
import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import SyncProtocol
import Synchronization

/// Who makes a request over HTTP, as its headers say.
struct Caller: Equatable, Sendable {
    var secret: String?
    /// The name to write under.
    var agent: String?
    /// What travels along with each write.
    var session: String?

    /// - Throws: ``Problem`` where there are credentials of another kind than ours.
    init(_ headers: HTTPFields) throws(Problem) {
        if let value = headers[.authorization] {
            guard let credential = Credential(authorization: value) else {
                throw Problem(.unauthorized, "credentials are a Bearer token")
            }
            secret = credential.secret
        }
        agent = headers[.starlingAgent]
        session = headers[.starlingSession]
    }
}

extension HTTPField.Name {
    static let starlingAgent = HTTPField.Name("Starling-Agent")!
    static let starlingSession = HTTPField.Name("Starling-Session")!
    static let starlingRevision = HTTPField.Name("Starling-Revision")!
    static let starlingExpiresAt = HTTPField.Name("Starling-Expires-At")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
}

/// What a connection over HTTP is to the shard of its event loop: one connection there, for as long as its requests come from the same
/// caller. A proxy's may carry those of several.
final class HTTPSession: Sendable {
    private let connections: InProcessConnections
    let eventLoop: any EventLoop
    /// How fast requests may come on the connection, whoever they are for; nil: as they like.
    private let rate: RateLimiter?
    private let state = Mutex(State())

    private struct State {
        var current: (caller: Caller, connection: InProcessConnection)?
        /// What a request that is being answered has for itself. Requests come one after the other.
        var stream: InProcessConnection?
        /// Whether that waits for something which is of use only to a caller that is there.
        var isWait = false
        var isClosed = false
        /// Whether the caller sends nothing more, as one that has hung up.
        var isInputClosed = false
    }

    /// Whether the caller sends nothing more: what is handed out to it may reach nobody.
    var isInputClosed: Bool { state.withLock { $0.isInputClosed } }

    private static let gone = Problem(.shuttingDown, "the connection is gone")

    init(_ connections: InProcessConnections, on eventLoop: any EventLoop, rate: RateLimit.Limits?) {
        self.connections = connections
        self.rate = rate.map { RateLimiter($0) }
        self.eventLoop = eventLoop
    }

    /// Asks something for a caller.
    ///
    /// - Returns: the answer, with nothing against the request.
    /// - Throws: ``Problem``.
    func ask(_ message: SyncMessage, as caller: Caller) async throws(Problem) -> JSONObject {
        try take(message.size)
        let answer = try await onConnection(of: caller) { connection async throws(ConnectionEnd) in
            try await connection.ask(message)
        }
        return try Self.checked(answer)
    }

    /// Asks several things at once for a caller.
    ///
    /// - Returns: the answers, with or without something against the requests.
    func answers(to messages: [SyncMessage], as caller: Caller) async throws(Problem) -> [JSONObject] {
        for message in messages { try take(message.size) }
        let answers = try await onConnection(of: caller) { connection async throws(ConnectionEnd) in
            try await connection.ask(messages)
        }
        return try Self.objects(answers)
    }

    /// Asks several things at once of a connection.
    static func answers(
        to messages: [SyncMessage], of connection: InProcessConnection
    ) async throws(Problem) -> [JSONObject] {
        let answers: [ByteBuffer]
        do throws(ConnectionEnd) {
            answers = try await connection.ask(messages)
        } catch {
            throw Problem(error)
        }
        return try objects(answers)
    }

    private static func objects(_ texts: [ByteBuffer]) throws(Problem) -> [JSONObject] {
        var objects: [JSONObject] = []
        for text in texts { objects.append(try object(text)) }
        return objects
    }

    /// Counts a message against what may come on the connection.
    private func take(_ size: Int) throws(Problem) {
        guard let wait = rate?.take(bytes: size, now: SystemClock.now()) else { return }
        throw Self.tooFast(wait)
    }

    private static func tooFast(_ wait: UInt64) -> Problem {
        var problem = Problem(.rateLimited, "requests come faster than allowed; this one was not carried out")
        problem.retryAfter = Int64(clamping: wait)
        return problem
    }

    /// Does something on the caller's connection; on a new one, where there is none.
    private func onConnection<Answer>(
        of caller: Caller, _ ask: (InProcessConnection) async throws(ConnectionEnd) -> Answer
    ) async throws(Problem) -> Answer {
        let known = state.withLock { $0.current?.caller == caller ? $0.current?.connection : nil }
        if let known {
            do throws(ConnectionEnd) {
                return try await ask(known)
            } catch {
                // It was idle for too long, for example: another one takes its place.
                guard !error.wasSent else { throw Problem(error) }
            }
        }
        let connection = try await connections.open(for: caller, on: eventLoop, isTaken: false)
        try keep(connection) { state in
            defer { state.current = (caller, connection) }
            return state.current?.connection
        }
        do throws(ConnectionEnd) {
            return try await ask(connection)
        } catch {
            throw Problem(error)
        }
    }

    /// Finds out whether a caller may send so much, before anything is done about it.
    ///
    /// - Returns: what the caller may do.
    /// - Throws: ``Problem`` where the credentials are none, or it comes faster than allowed.
    @discardableResult
    func admit(_ size: Int, as caller: Caller) async throws(Problem) -> Grant {
        let grant: Grant
        do throws(AccessRefusal) {
            grant = try await connections.grant(for: caller.secret.map { Credential($0) })
            if grant.isNothing { throw .invalid("this server wants credentials: Authorization: Bearer <token>") }
        } catch {
            throw Problem(error)
        }
        // The message that is made of it is counted as one.
        if let wait = grant.take(bytes: size, messages: 0, now: SystemClock.now()) { throw Self.tooFast(wait) }
        return grant
    }

    /// - Throws: ``Problem``: what the answer has against the request, or why there is none.
    static func ask(_ message: SyncMessage, of connection: InProcessConnection) async throws(Problem) -> JSONObject {
        let text: ByteBuffer
        do throws(ConnectionEnd) {
            text = try await connection.ask(message)
        } catch {
            throw Problem(error)
        }
        return try checked(text)
    }

    /// Asks something that hands out what is to go back where nobody takes it: the answer is waited for whatever becomes of the task, and to cancel
    /// it ends the connection, so that either the one or the other has it.
    static func wait(_ message: SyncMessage, of connection: InProcessConnection) async throws(Problem) -> JSONObject {
        let question = Task { () -> Result<JSONObject, Problem> in
            do throws(Problem) {
                return .success(try await ask(message, of: connection))
            } catch {
                return .failure(error)
            }
        }
        return try await withTaskCancellationHandler {
            await question.value
        } onCancel: {
            connection.close()
        }.get()
    }

    /// Makes a connection for one request, which takes what comes on it. It ends with the next one, and with the session, at the latest.
    ///
    /// - Throws: ``Problem`` where the caller may not have one.
    ///
    /// - Parameter isWait: whether it ends when the caller has sent its last, as one that hangs up has.
    func open(for caller: Caller, isWait: Bool = false) async throws(Problem) -> InProcessConnection {
        let connection = try await connections.open(for: caller, on: eventLoop, isTaken: true)
        try keep(connection) { state in
            defer {
                state.stream = connection
                state.isWait = isWait
            }
            return state.stream
        }
        if isWait, isInputClosed {
            connection.close()
            throw Self.gone
        }
        return connection
    }

    /// Keeps a connection, and closes the one that it takes the place of; or it, where the session was closed meanwhile.
    ///
    /// - Throws: ``Problem`` then.
    private func keep(
        _ connection: InProcessConnection, _ change: (inout State) -> InProcessConnection?
    ) throws(Problem) {
        let (isClosed, last) = state.withLock { state in
            state.isClosed ? (true, connection) : (false, change(&state))
        }
        last?.close()
        if isClosed { throw Self.gone }
    }

    private static func object(_ text: ByteBuffer) throws(Problem) -> JSONObject {
        do throws(JSONError) {
            return try JSONObject(Array(text.readableBytesView))
        } catch {
            throw Problem(.storageFailed, "the answer is no JSON: \(error)")
        }
    }

    private static func checked(_ text: ByteBuffer) throws(Problem) -> JSONObject {
        let answer = try object(text)
        if let problem = Problem(answer) { throw problem }
        return answer
    }

    /// The caller sends nothing more. What was asked is answered; but what would be handed out to nobody is not waited for.
    func inputClosed() {
        let waiting = state.withLock { state in
            state.isInputClosed = true
            return state.isWait ? state.stream : nil
        }
        waiting?.close()
    }

    /// The connection over HTTP is gone.
    func close() {
        let last = state.withLock { state in
            defer { state = State(isClosed: true) }
            return [state.current?.connection, state.stream]
        }
        for connection in last { connection?.close() }
    }
}

extension InProcessConnections {
    /// Makes a connection for a caller, under the name that it gives.
    ///
    /// - Throws: ``Problem`` where the caller may not have one.
    func open(
        for caller: Caller, on eventLoop: any EventLoop, isTaken: Bool
    ) async throws(Problem) -> InProcessConnection {
        let connection: InProcessConnection
        do throws(AccessRefusal) {
            let grant = try await grant(for: caller.secret.map { Credential($0) })
            // A request brings its credentials with it: none come later, as they may on a WebSocket.
            if grant.isNothing { throw .invalid("this server wants credentials: Authorization: Bearer <token>") }
            connection = try await open(grant, on: eventLoop, isTaken: isTaken)
        } catch {
            throw Problem(error)
        }
        guard caller.agent != nil || caller.session != nil else { return connection }
        var hello = SyncMessage("hello")
        hello.add("agent", caller.agent)
        hello.add("session", caller.session)
        do throws(Problem) {
            _ = try await HTTPSession.ask(hello, of: connection)
            return connection
        } catch {
            connection.close()
            throw error
        }
    }
}
