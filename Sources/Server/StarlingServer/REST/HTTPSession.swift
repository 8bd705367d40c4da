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
    private let eventLoop: any EventLoop
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
    }

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
        if let wait = rate?.take(bytes: message.size, now: SystemClock.now()) {
            var problem = Problem(.rateLimited, "requests come faster than allowed; this one was not carried out")
            problem.retryAfter = Int64(clamping: wait)
            throw problem
        }
        let known = state.withLock { $0.current?.caller == caller ? $0.current?.connection : nil }
        if let known {
            let answer: ByteBuffer?
            do throws(ConnectionEnd) {
                answer = try await known.ask(message)
            } catch {
                // It was idle for too long, for example: another one takes its place.
                guard !error.wasSent else { throw Problem(error) }
                answer = nil
            }
            if let answer { return try Self.checked(answer) }
        }
        let connection = try await open(for: caller, isTaken: false)
        try keep(connection) { state in
            defer { state.current = (caller, connection) }
            return state.current?.connection
        }
        return try await Self.ask(message, of: connection)
    }

    /// Finds out whether a caller may send so much, before anything is done about it.
    ///
    /// - Throws: ``Problem`` where the credentials are none, or it comes faster than allowed.
    func admit(_ size: Int, as caller: Caller) async throws(Problem) {
        let grant: Grant
        do throws(AccessRefusal) {
            grant = try await connections.grant(for: caller.secret.map { Credential($0) })
            if grant.isNothing { throw .invalid("this server wants credentials: Authorization: Bearer <token>") }
        } catch {
            throw Problem(error)
        }
        // The message that is made of it is counted as one.
        if let wait = grant.take(bytes: size, messages: 0, now: SystemClock.now()) {
            var problem = Problem(.rateLimited, "requests come faster than allowed; this one was not carried out")
            problem.retryAfter = Int64(clamping: wait)
            throw problem
        }
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

    /// Makes a connection for one request, which takes what comes on it. It ends with the next one, and with the session, at the latest.
    ///
    /// - Throws: ``Problem`` where the caller may not have one.
    ///
    /// - Parameter isWait: whether it ends when the caller has sent its last, as one that hangs up has.
    func open(for caller: Caller, isWait: Bool = false) async throws(Problem) -> InProcessConnection {
        let connection = try await open(for: caller, isTaken: true)
        try keep(connection) { state in
            defer {
                state.stream = connection
                state.isWait = isWait
            }
            return state.stream
        }
        return connection
    }

    private func open(for caller: Caller, isTaken: Bool) async throws(Problem) -> InProcessConnection {
        let connection: InProcessConnection
        do throws(AccessRefusal) {
            let grant = try await connections.grant(for: caller.secret.map { Credential($0) })
            // A request brings its credentials with it: none come later, as they may on a WebSocket.
            if grant.isNothing { throw .invalid("this server wants credentials: Authorization: Bearer <token>") }
            connection = try await connections.open(grant, on: eventLoop, isTaken: isTaken)
        } catch {
            throw Problem(error)
        }
        guard caller.agent != nil || caller.session != nil else { return connection }
        var hello = SyncMessage("hello")
        hello.add("agent", caller.agent)
        hello.add("session", caller.session)
        do throws(Problem) {
            _ = try await Self.ask(hello, of: connection)
            return connection
        } catch {
            connection.close()
            throw error
        }
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

    private static func checked(_ text: ByteBuffer) throws(Problem) -> JSONObject {
        let answer: JSONObject
        do throws(JSONError) {
            answer = try JSONObject(Array(text.readableBytesView))
        } catch {
            throw Problem(.storageFailed, "the answer is no JSON: \(error)")
        }
        if let problem = Problem(answer) { throw problem }
        return answer
    }

    /// The caller sends nothing more. What was asked is answered; but what would be handed out to nobody is not waited for.
    func inputClosed() {
        state.withLock { $0.isWait ? $0.stream : nil }?.close()
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
