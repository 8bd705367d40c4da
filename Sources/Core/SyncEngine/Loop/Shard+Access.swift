package import Access
import NIOCore
package import Registers
package import SyncProtocol

/// Who may do what, how fast, and for how long. Everything that a client sends passes ``check(_:size:of:now:)``; what it is
/// sent is filtered where it is matched (``Filter``).
extension Shard {
    /// How many more messages may come too fast than in time, before the connection is ended.
    private static let maximumStrikes = 1_000
    /// How many registers from another database are taken at once, and of what cost.
    private static let maximumReplicated = 1_000
    private static let maximumReplicatedCost = 4 << 20
    /// How many credentials a connection may try.
    private static let maximumAttempts = 10

    /// What becomes of a message before it has its turn: itself, or the error that it is answered with.
    mutating func check(_ incoming: Incoming, size: Int, of state: ConnectionState, now: WallTime) -> Incoming? {
        if case .close = incoming { return incoming }
        state.lastMessageAt = now
        // They are paid for before they are checked.
        if case .credentials = incoming { return incoming }
        let count = incoming.writes
        if let wait = state.rate?.take(bytes: size, messages: count, now: now)
            ?? state.grant.take(bytes: size, messages: count, now: now)
        {
            return tooFast(incoming, wait: wait, state)
        }
        state.strikes = max(0, state.strikes - 1)
        switch incoming {
        case .close, .invalid, .credentials: return incoming
        case .replicate(let registers, let id):
            return replicationRefusal(registers, state.grant, id: id).map(Incoming.invalid) ?? incoming
        case .message(let message):
            return (forbidden(message, state) ?? ephemeralLimit(message, state)).map(Incoming.invalid) ?? incoming
        }
    }

    private mutating func tooFast(_ incoming: Incoming, wait: UInt64, _ state: ConnectionState) -> Incoming? {
        state.strikes += 1
        if state.strikes > Self.maximumStrikes {
            expel(state, .rateLimited, "messages went on coming faster than allowed")
            return nil
        }
        var error = WireError(
            .rateLimited, "messages come faster than allowed; this one was not carried out",
            hint: "send it again in \(wait) ms", id: incoming.id)
        error.retryAfter = wait
        return .invalid(error)
    }

    // MARK: Credentials

    /// Whether credentials that a connection shows are to be checked at all; that costs more than most of what else it can
    /// ask for. Where they are not, it is told so.
    package mutating func mayCheckCredentials(
        _ hello: ClientMessage.Hello, size: Int, of id: ConnectionID, _ turn: Turn
    ) -> Bool {
        guard let state = connection(id), !state.order.isClosed else { return false }
        state.attempts += 1
        if state.attempts > Self.maximumAttempts {
            expel(state, .unauthorized, "credentials were shown \(state.attempts) times and not valid once")
            return false
        }
        // Not by what is shared with others: strangers must not be able to keep anyone from saying who they are.
        guard let wait = state.rate?.take(bytes: size, now: turn.now) else { return true }
        if let error = tooFast(.message(.hello(hello)), wait: wait, state) {
            state.order.enqueue(error)
            runWaiting(of: id, turn)
        }
        return false
    }

    /// Takes new credentials over: from the next message on they are what counts.
    mutating func adopt(
        _ hello: ClientMessage.Hello, _ result: Result<Grant, AccessRefusal>, of state: ConnectionState, now: WallTime
    ) {
        let id = state.id
        state.order.credentialsRan()
        // They may have been revoked while they waited.
        let result = result.flatMap { grant in configuration.problem(grant).map { .failure($0) } ?? .success(grant) }
        switch result {
        case .failure(.busy):
            // Nobody looked at them.
            state.attempts -= 1
            refuse(WireError(.overloaded, AccessRefusal.busy.text, id: hello.id), of: id)
        case .failure(let refusal):
            refuse(WireError(.unauthorized, refusal.text, id: hello.id), of: id)
        case .success(let grant):
            let isInUse =
                !state.subscriptions.isEmpty || ephemerals.areAny(of: id) || !state.waitingCalls.isEmpty
            if isInUse, !grant.allowsTheSame(as: state.grant) {
                let error = WireError(
                    .forbidden, "this connection has subscriptions or claims, and these credentials allow other things",
                    hint: "say hello with them on a new connection", id: hello.id)
                return refuse(error, of: id)
            }
            state.attempts = 0
            state.grant = grant
            if let agent = grant.agent { state.agent = agent }
            if let error = forbidden(.hello(hello), state) { return refuse(error, of: id) }
            greet(hello, of: state, now: now)
        }
    }

    // MARK: Messages

    private func forbidden(_ message: ClientMessage, _ state: ConnectionState) -> WireError? {
        let grant = state.grant
        if grant.source == .noRules { return nil }
        switch message {
        case .ping, .unsubscribe: return nil
        case .hello(let hello):
            // A client that forgot its token is to hear of it here, and not from each of its writes.
            if grant.isNothing { return Self.wantsCredentials(id: hello.id) }
            return forbidden(agent: hello.agent, grant, id: hello.id)
        case .subscribe(let request): return forbidden(reading: request.pattern, grant, id: request.id)
        case .list(let list): return forbidden(reading: list.pattern, grant, id: list.id)
        case .digest(let digest): return forbidden(reading: digest.pattern, grant, id: digest.id)
        case .get(let id, let key):
            return grant.read.admits(key) ? nil : refusal(grant, "reading \(key) is not allowed", id: id)
        case .write(let write):
            if let error = forbidden(writing: write.key, grant, id: write.id) { return error }
            if let fence = write.fence, !grant.write.admits(fence.key), !grant.read.admits(fence.key) {
                return refusal(grant, "showing a fence of \(fence.key) is not allowed", id: write.id)
            }
            guard case .version(let version) = write.stamping else { return nil }
            return forbidden(agent: version.agent, grant, id: write.id)
        case .lease(let lease): return forbidden(writing: lease.key, grant, id: lease.id)
        case .touch(let touch): return forbidden(writing: touch.key, grant, id: touch.id)
        case .batch(let batch): return forbidden(batch, grant)
        case .call(let call): return forbidden(call, state)
        // What it reads and writes is judged as it does.
        case .service(let call): return grant.isNothing ? Self.wantsCredentials(id: call.id) : nil
        }
    }

    /// A call names the keys that it wants to be allowed; what follows from it is the server's.
    private func forbidden(_ call: Call, _ state: ConnectionState) -> WireError? {
        let grant = state.grant
        do throws(TextError) {
            let rights = try configuration.rights(call, state.agent)
            for key in rights.writes {
                if let error = forbidden(writing: key, grant, id: call.id) { return error }
            }
            if let pattern = rights.some, !grant.write.mayMeet(pattern) {
                return refusal(grant, "writing anything that \(pattern) matches is not allowed", id: call.id)
            }
            for key in rights.reads where !grant.read.admits(key) {
                return refusal(grant, "reading \(key) is not allowed", id: call.id)
            }
            return nil
        } catch {
            return WireError(.badKey, error.description, id: call.id)
        }
    }

    private func replicationRefusal(_ registers: [Register], _ grant: Grant, id: RequestID) -> WireError? {
        guard grant.mayMerge else { return refusal(grant, "merging registers as they are is not allowed", id: id) }
        guard registers.count <= Self.maximumReplicated, WriteRequest.cost(of: registers) <= Self.maximumReplicatedCost
        else {
            return WireError(
                .tooLarge,
                "at most \(Self.maximumReplicated) registers of \(Self.maximumReplicatedCost >> 20) MiB together are merged at once",
                id: id)
        }
        return nil
    }

    /// One member that is forbidden forbids all.
    private func forbidden(_ batch: ClientMessage.Batch, _ grant: Grant) -> WireError? {
        for member in batch.members {
            if let error = forbidden(writing: member.key, grant, id: batch.id) { return error }
        }
        for key in batch.requirements.lazy.map(\.key) where !grant.write.admits(key) && !grant.read.admits(key) {
            return refusal(grant, "requiring anything of \(key) is not allowed", id: batch.id)
        }
        return nil
    }

    private func forbidden(writing key: Key, _ grant: Grant, id: RequestID?) -> WireError? {
        grant.write.admits(key) ? nil : refusal(grant, "writing \(key) is not allowed", id: id)
    }

    private func forbidden(reading pattern: Pattern, _ grant: Grant, id: RequestID?) -> WireError? {
        guard !grant.read.mayMeet(pattern) else { return nil }
        return refusal(grant, "reading anything that \(pattern) matches is not allowed", id: id)
    }

    private func forbidden(agent: Agent?, _ grant: Grant, id: RequestID?) -> WireError? {
        guard let agent, let fixed = grant.agent, agent != fixed else { return nil }
        return refusal(grant, "writing as \(agent) is not allowed: these credentials are \(fixed)'s", id: id)
    }

    private func refusal(_ grant: Grant, _ message: String, id: RequestID?) -> WireError {
        switch grant.source {
        case .anonymous(isAllowed: false): Self.wantsCredentials(id: id)
        case .anonymous:
            WireError(
                .forbidden, "\(message) without credentials", hint: #"send {"type":"hello","token":…}"#, id: id)
        case .noRules, .server, .token, .issuer: WireError(.forbidden, message, id: id)
        }
    }

    private static func wantsCredentials(id: RequestID?) -> WireError {
        WireError(
            .unauthorized, "this server wants credentials first",
            hint: #"send {"type":"hello","token":…}, or an Authorization header"#, id: id)
    }

    /// Why a message that would make one more ephemeral key cannot be carried out.
    private func ephemeralLimit(_ message: ClientMessage, _ state: ConnectionState) -> WireError? {
        let key: Key
        let id: RequestID?
        switch message {
        case .write(let write) where write.endsWithConnection: (key, id) = (write.key, write.id)
        case .lease(let lease) where lease.endsWithConnection: (key, id) = (lease.key, lease.id)
        case .call(let call) where call.endsWithConnection:
            guard ephemerals.count(of: state.id) >= configuration.maximumEphemerals else { return nil }
            return tooManyHolds(call.id)
        case .write, .lease, .touch, .batch, .call, .service, .get, .list, .digest, .subscribe, .unsubscribe, .hello,
            .ping:
            return nil
        }
        guard ephemerals.count(of: state.id) >= configuration.maximumEphemerals, !ephemerals.has(key, state.id) else {
            return nil
        }
        return tooManyHolds(id)
    }

    private func tooManyHolds(_ id: RequestID?) -> WireError {
        WireError(
            .tooManyHolds,
            "this connection holds, or has asked for, \(configuration.maximumEphemerals) registers until it disconnects; "
                + "that is the limit",
            hint: "claim with a \"ttl\" instead, or use another connection", id: id)
    }

    // MARK: Ephemeral keys

    /// Keeps up what ends with connections while they live. To be called every second or so.
    package mutating func keepEphemerals(now: WallTime) { ask(ephemerals.keepUp(now: now)) }

    /// The ephemeral keys of connections here, and of those that are gone which have not ended yet.
    package var ephemeralKeys: [EphemeralKey] { ephemerals.keys }

    // MARK: The end

    /// Ends the connections whose time is over. To be called every second or so.
    ///
    /// - Parameter problem: what is wrong with a grant by now; nil where that cannot have changed since the last call.
    package mutating func endAccess(now: WallTime, problem: ((Grant) -> AccessRefusal?)?) {
        // Those that are closing too: they may be sent what they are owed for a while.
        for state in connections.values {
            if let end = state.grant.expiresAt, end <= now {
                expel(state, .accessExpired, AccessRefusal.expired.text)
            } else if let refusal = problem?(state.grant) {
                expel(state, refusal == .expired ? .accessExpired : .accessChanged, refusal.text)
            } else if state.order.isClosed {
                continue
            } else if state.grant.isNothing, now >= state.connectedAt + configuration.authenticationTimeout {
                expel(
                    state, .unauthorized, "no credentials came in \(configuration.authenticationTimeout / 1_000) s")
            } else if let limit = configuration.idleTimeout, isUnused(state), now >= state.lastMessageAt + limit {
                expel(state, .idle, "nothing was sent for \(limit / 1_000) s, and nothing is subscribed to")
            }
        }
    }

    private mutating func expel(_ state: ConnectionState, _ code: ErrorCode, _ reason: String) {
        state.order.close()
        counters.refusals[code, default: 0] += 1
        expulsions.append(Expulsion(connection: state.id, code: code, reason: reason))
    }

    /// Whether nothing is lost with a connection but the way to come back.
    private func isUnused(_ state: ConnectionState) -> Bool {
        state.subscriptions.isEmpty && state.order.isIdle && state.waitingCalls.isEmpty
            && !ephemerals.areAny(of: state.id)
    }

    /// A connection that is to be ended, whatever it is owed.
    struct Expulsion {
        var connection: ConnectionID
        var code: ErrorCode
        var reason: String
    }
}

extension Incoming {
    /// As how many messages it counts: as one for each register that it is about.
    fileprivate var writes: Int {
        switch self {
        case .message(.batch(let batch)): batch.rows
        case .message(.call(let call)): call.rows
        case .replicate(let registers, _): registers.count
        case .message, .credentials, .invalid, .close: 1
        }
    }

    /// The id that the answer carries.
    fileprivate var id: RequestID? {
        switch self {
        case .message(let message): message.id
        case .replicate(_, let id): id
        case .invalid(let error): error.id
        case .credentials(let hello, _): hello.id
        case .close: nil
        }
    }
}

extension AccessRefusal {
    fileprivate var text: String {
        switch self {
        case .invalid(let reason): reason
        case .expired: "these credentials are no longer valid"
        case .busy: "too many credentials are being checked; show them again in a moment"
        case .changed: "what these credentials allow has changed"
        }
    }
}
