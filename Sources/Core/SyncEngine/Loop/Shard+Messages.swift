import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// A connection sent something. It takes effect now, or in its turn.
    ///
    /// - Parameter size: how many bytes the message has.
    package mutating func messageReceived(_ incoming: Incoming, size: Int = 0, from id: ConnectionID, _ turn: Turn) {
        guard let state = connection(id), !state.order.isClosed else { return }
        if case .close = incoming {
            state.order.close()
            if !state.waitingCalls.isEmpty { withdrawCalls(nil, isAnswered: true, of: id) }
        } else {
            counters.messagesReceived += 1
        }
        // An error waits for the answers to the writes before it, as any other does.
        guard let incoming = check(incoming, size: size, of: state, now: turn.now) else { return }
        if state.mayRunNow(incoming) {
            run(incoming, of: state, turn)
        } else {
            state.order.enqueue(incoming)
        }
    }

    /// Lets messages of a connection that waited for their turn take effect, as far as they may.
    mutating func runWaiting(of id: ConnectionID, _ turn: Turn) {
        while let state = connection(id), let step = state.nextStep() {
            switch step {
            case .run(let incoming): run(incoming, of: state, turn)
            case .read(let lookups): read(lookups, of: state)
            }
        }
    }

    private mutating func read(_ lookups: [LookupRequest.Lookup], of state: ConnectionState) {
        jobs.append(.lookups(LookupRequest(connection: state.id, lookups: lookups, scope: state.grant.read)))
    }

    private mutating func run(_ incoming: Incoming, of state: ConnectionState, _ turn: Turn) {
        switch incoming {
        case .invalid(let error): refuse(error, of: state.id)
        case .credentials(let hello, let result): adopt(hello, result, of: state, now: turn.now)
        case .close: closing.append(state.id)
        case .replicate(let registers, let requestID): submit(.replicate(registers, id: requestID), of: state)
        case .message(let message): run(message, of: state, turn)
        }
    }

    private mutating func run(_ message: ClientMessage, of state: ConnectionState, _ turn: Turn) {
        switch message {
        case .write(let write): submit(write, of: state)
        case .lease(let lease): submit(lease, of: state)
        case .touch(let touch): submit(.touch(touch), of: state)
        case .batch(let batch): submit(batch, of: state)
        case .call(let call): submit(.call(call), of: state)
        case .service(let call): serve(call, of: state, turn)
        case .get, .list, .digest:
            guard let lookup = message.lookup else { preconditionFailure("\(message) is no lookup") }
            state.order.lookupsBegan([lookup])
            read([lookup], of: state)
        case .subscribe(let request): subscribe(request, of: state, turn)
        case .unsubscribe(let requestID): unsubscribe(requestID, of: state)
        case .hello(let hello): greet(hello, of: state, now: turn.now)
        case .ping(let requestID):
            reply(to: state.id) { ServerMessage.writePong(id: requestID, time: turn.now, to: &$0) }
        }
    }

    mutating func greet(_ hello: ClientMessage.Hello, of state: ConnectionState, now: WallTime) {
        if let agent = hello.agent { state.agent = agent }
        if let session = hello.session { state.session = session }
        welcome(state.id, requestID: hello.id, now: now)
    }

    mutating func welcome(_ id: ConnectionID, requestID: RequestID?, now: WallTime) {
        guard let agent = connection(id)?.agent else { return }
        let cursor = Cursor(epoch: epoch, revision: delivered)
        let welcome = configuration.welcome
        reply(to: id) {
            ServerMessage.writeWelcome(welcome, id: requestID, cursor: cursor, time: now, agent: agent, to: &$0)
        }
    }

    mutating func refuse(_ error: WireError, of id: ConnectionID) {
        counters.refusals[error.code, default: 0] += 1
        reply(to: id) { ServerMessage.writeError(error, to: &$0) }
    }

    // MARK: Writes

    private mutating func submit(_ write: ClientMessage.Write, of state: ConnectionState) {
        var write = write
        if let session = state.session, !write.record.has(.session) { write.session = session }
        var stamp: Stamp?
        if case .timestamp(let milliseconds) = write.stamping {
            stamp = state.counters.stamp(milliseconds)
        }
        submit(.write(write), stamp: stamp, of: state)
    }

    private mutating func submit(_ lease: ClientMessage.Lease, of state: ConnectionState) {
        var lease = lease
        if lease.session == nil { lease.session = state.session }
        submit(.lease(lease), of: state)
    }

    private mutating func submit(_ batch: ClientMessage.Batch, of state: ConnectionState) {
        var batch = batch
        if let session = state.session { batch.fill(session: session) }
        submit(.batch(.init(batch, bearer: state.grant.bearer)), of: state)
    }

    private mutating func submit(_ action: WriteRequest.Action, stamp: Stamp? = nil, of state: ConnectionState) {
        let request = WriteRequest(
            action: action, agent: state.agent, stamp: stamp,
            origin: Origin(loop: configuration.loop, connection: state.id), grant: state.grant)
        state.order.writeBegan(cost: request.cost)
        if request.endsWithConnection { ephemerals.requested(by: state.id) }
        writes.append(request)
    }

    /// The committer would not take writes: each is refused.
    package mutating func writesRejected(_ requests: [WriteRequest], _ turn: Turn) {
        let error = WireError(
            .overloaded, "more writes are waiting for the disk than the server queues", hint: "send it again later")
        for request in requests { settle(.init(request, outcome: .refused(error))) }
        for request in requests { runWaiting(of: request.origin.connection, turn) }
    }

    /// Answers a write.
    mutating func settle(_ result: CommittedChanges.Result) {
        let state = connection(result.connection)
        if settleCall(result, state) { return }
        if let request = ephemerals.answered(result, isConnected: state != nil) { ask([request]) }
        guard result.request.isFromClient else { return }
        count(result.outcome)
        guard let state else { return }
        if !result.isLate { state.order.writeAnswered(cost: result.request.cost) }
        if result.id == nil, !result.outcome.isAlwaysTold { return }
        markDirty(state)
        let read = state.grant.read
        guard let key = result.key else {
            return configuration.framing(&state.acknowledgements) {
                ServerMessage.writeOutcomeOfSeveral(
                    result.outcome, id: result.id, shows: { read.admits($0) ? .everything : .nothing }, to: &$0)
            }
        }
        configuration.framing(&state.acknowledgements) {
            ServerMessage.writeOutcome(
                result.outcome, id: result.id, key: key, shows: read.admits(key) ? .everything : .nothing, to: &$0)
        }
    }

    private mutating func count(_ outcome: WriteOutcome) {
        switch outcome {
        case .refused(let error): counters.refusals[error.code, default: 0] += 1
        case .claimRefused(let code, _, _): counters.refusals[code, default: 0] += 1
        case .batchRefused(let failures):
            if let code = failures.lazy.compactMap(\.reason.code).first { counters.refusals[code, default: 0] += 1 }
        case .applied, .superseded, .conditionFailed, .touched, .absent, .transient, .claimed, .released, .batched,
            .replicated, .called, .waiting, .done:
            break
        }
    }

    // MARK: Lookups

    /// Lookups were read, as many as fit.
    package mutating func lookupsRead(_ result: LookupResult, _ turn: Turn) {
        guard let state = connection(result.connection) else { return }
        guard result.head <= delivered else { return heldLookups.hold(result, until: result.head) }
        if result.frames.readableBytes > 0 { replyFrames(to: state.id, result.frames) }
        if let left = state.order.lookupsRead(answered: result.answered, isBackedUp: state.isBackedUp) {
            // The rest of them, as the socket keeps up.
            read(left, of: state)
        } else {
            runWaiting(of: state.id, turn)
        }
    }

    /// Goes on with lookups that stopped when the socket backed up.
    mutating func resumeLookups(of state: ConnectionState) {
        if let left = state.order.socketDrained() { read(left, of: state) }
    }
}

extension WriteOutcome {
    /// Whether the sender is told even where it gave no id: of errors, and of claims and tasks, whose fence it needs.
    fileprivate var isAlwaysTold: Bool {
        switch self {
        case .refused, .claimed, .released, .claimRefused, .called: true
        case .applied, .touched, .superseded, .conditionFailed, .absent, .transient, .batched, .batchRefused,
            .replicated, .waiting, .done:
            false
        }
    }
}

extension ClientMessage.Batch {
    /// Gives `session` to the writes that have none.
    fileprivate mutating func fill(session: [UInt8]) {
        for index in members.indices {
            guard case .write(var write) = members[index], !write.record.has(.session) else { continue }
            write.session = session
            members[index] = .write(write)
        }
    }
}
