import Access
import NIOCore
import Registers
import SyncProtocol

extension Shard {
    /// A connection sent something. It takes effect now, or in its turn.
    ///
    /// - Parameters:
    ///   - size: how many bytes the message has.
    ///   - head: the revision of the latest commit, which this event loop may not have been told of yet.
    ///   - now: the wall clock, in milliseconds.
    package mutating func receive(
        _ incoming: Incoming, size: Int = 0, from id: ConnectionID, head: UInt64, now: UInt64
    ) {
        guard let state = connection(id), !state.hasClosed else { return }
        if case .close = incoming {
            connections[Int(id.slot)]?.hasClosed = true
        } else {
            counters.messagesReceived += 1
        }
        // An error waits for the answers to the writes before it, as any other does.
        guard let incoming = check(incoming, size: size, of: state, now: now) else { return }
        if state.waiting.isEmpty, state.mayRun(incoming) {
            run(incoming, of: id, head: head, now: now)
        } else {
            if case .credentials = incoming { state.hasWaitingCredentials = true }
            state.waiting.append(incoming)
            state.waitingCost += incoming.cost
        }
    }

    private mutating func takeWaiting(of id: ConnectionID) {
        guard let incoming = connections[Int(id.slot)]?.waiting.popFirst() else { return }
        connections[Int(id.slot)]?.waitingCost -= incoming.cost
    }

    /// Lets messages of a connection that waited for their turn take effect, as far as they may.
    mutating func runWaiting(of id: ConnectionID, head: UInt64, now: UInt64) {
        while let state = connection(id), let next = state.waiting.first, state.mayRun(next) {
            if lookup(of: next) != nil {
                runWaitingLookups(of: id)
            } else {
                takeWaiting(of: id)
                run(next, of: id, head: head, now: now)
            }
        }
    }

    /// Reads for all the gets and lists at the head of the line at once.
    private mutating func runWaitingLookups(of id: ConnectionID) {
        var lookups: [LookupRequest.Lookup] = []
        while lookups.count < 256, let next = connections[Int(id.slot)]?.waiting.first, let lookup = lookup(of: next) {
            takeWaiting(of: id)
            lookups.append(lookup)
        }
        look(up: lookups, of: id)
    }

    private mutating func look(up lookups: [LookupRequest.Lookup], of id: ConnectionID) {
        connections[Int(id.slot)]?.lookups = lookups
        connections[Int(id.slot)]?.isLookupInFlight = true
        let scope = connection(id)?.grant.read ?? .nothing
        jobs.append(.lookups(LookupRequest(connection: id, lookups: lookups, scope: scope)))
    }

    private func lookup(of incoming: Incoming) -> LookupRequest.Lookup? {
        switch incoming {
        case .message(.get(let id, let key)): .get(id: id, key: key)
        case .message(.list(let list)): .list(list)
        case .message(.digest(let digest)): .digest(digest)
        case .message, .credentials, .invalid, .close: nil
        }
    }

    private mutating func run(_ incoming: Incoming, of id: ConnectionID, head: UInt64, now: UInt64) {
        switch incoming {
        case .invalid(let error): refuse(error, of: id)
        case .credentials(let hello, let result): adopt(hello, result, of: id, now: now)
        case .close: closing.append(id)
        case .message(let message): run(message, of: id, head: head, now: now)
        }
    }

    private mutating func run(_ message: ClientMessage, of id: ConnectionID, head: UInt64, now: UInt64) {
        switch message {
        case .write(let write): submit(write, of: id)
        case .lease(let lease): submit(lease, of: id)
        case .touch(let touch): submit(touch, of: id)
        case .batch(let batch): submit(batch, of: id)
        case .get(let requestID, let key): look(up: [.get(id: requestID, key: key)], of: id)
        case .list(let list): look(up: [.list(list)], of: id)
        case .digest(let digest): look(up: [.digest(digest)], of: id)
        case .subscribe(let request): subscribe(request, of: id, head: head)
        case .unsubscribe(let requestID): unsubscribe(requestID, of: id)
        case .hello(let hello): greet(hello, of: id, now: now)
        case .ping(let requestID):
            reply(to: id) { ServerMessage.writePong(id: requestID, time: now, to: &$0) }
        }
    }

    mutating func greet(_ hello: ClientMessage.Hello, of id: ConnectionID, now: UInt64) {
        if let agent = hello.agent { connections[Int(id.slot)]?.agent = agent }
        if let session = hello.session { connections[Int(id.slot)]?.session = session }
        welcome(id, requestID: hello.id, now: now)
    }

    mutating func welcome(_ id: ConnectionID, requestID: RequestID?, now: UInt64) {
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

    private mutating func submit(_ write: ClientMessage.Write, of id: ConnectionID) {
        guard let state = connection(id) else { return }
        var write = write
        if write.session == nil { write.session = state.session }
        var stamp: Stamp?
        if case .timestamp(let milliseconds) = write.stamping {
            stamp = state.counters.stamp(milliseconds)
        }
        submit(
            WriteRequest(
                write: write, agent: state.agent, stamp: stamp,
                origin: Origin(loop: configuration.loop, connection: id), grant: state.grant), of: state)
    }

    private mutating func submit(_ lease: ClientMessage.Lease, of id: ConnectionID) {
        guard let state = connection(id) else { return }
        var lease = lease
        if lease.session == nil { lease.session = state.session }
        submit(
            WriteRequest(
                action: .lease(lease), agent: state.agent, origin: Origin(loop: configuration.loop, connection: id),
                grant: state.grant),
            of: state)
    }

    private mutating func submit(_ touch: ClientMessage.Touch, of id: ConnectionID) {
        guard let state = connection(id) else { return }
        submit(
            WriteRequest(
                action: .touch(touch), agent: state.agent, origin: Origin(loop: configuration.loop, connection: id),
                grant: state.grant),
            of: state)
    }

    private mutating func submit(_ batch: ClientMessage.Batch, of id: ConnectionID) {
        guard let state = connection(id) else { return }
        var batch = batch
        if let session = state.session { batch.fill(session: session) }
        submit(
            WriteRequest(
                action: .batch(.init(batch, bearer: state.grant.bearer)), agent: state.agent,
                origin: Origin(loop: configuration.loop, connection: id), grant: state.grant),
            of: state)
    }

    private mutating func submit(_ request: WriteRequest, of state: ConnectionState) {
        state.writesInFlight += 1
        state.writeCostInFlight += request.cost
        if request.endsWithConnection { state.holdsAskedFor += 1 }
        writes.append(request)
    }

    /// The committer would not take writes: each is refused.
    package mutating func reject(_ requests: [WriteRequest], head: UInt64, now: UInt64) {
        let error = WireError(
            .overloaded, "more writes are waiting for the disk than the server queues", hint: "send it again later")
        for request in requests { settle(.init(request, outcome: .refused(error))) }
        for request in requests { runWaiting(of: request.origin.connection, head: head, now: now) }
    }

    /// Answers a write.
    mutating func settle(_ result: CommittedBatch.Result) {
        noteHold(result)
        guard result.isFromClient else { return }
        switch result.outcome {
        case .refused(let error): counters.refusals[error.code, default: 0] += 1
        case .claimRefused(let code, _, _): counters.refusals[code, default: 0] += 1
        case .batchRefused(let failures):
            if let code = failures.lazy.compactMap(\.reason.code).first { counters.refusals[code, default: 0] += 1 }
        default: break
        }
        guard let state = connection(result.connection) else { return }
        state.writesInFlight -= 1
        state.writeCostInFlight -= result.cost
        if result.endsWithConnection { state.holdsAskedFor -= 1 }
        if result.id == nil, !result.outcome.isAlwaysTold { return }
        markDirty(result.connection.slot)
        // Thousands of refusals of small writes can each have a great value to show: at some point, without the value.
        var room = configuration.maximumAcknowledgements - state.acknowledgements.readableBytes
        guard let key = result.key else {
            let read = state.grant.read
            configuration.framing(&state.acknowledgements) { buffer in
                ServerMessage.writeBatchOutcome(
                    result.outcome, id: result.id,
                    shows: { current, key in
                        guard read.admits(key) else { return .nothing }
                        guard room > 0 else { return .withoutValue }
                        room -= current?.register.value?.count ?? 0
                        return .everything
                    }, to: &buffer)
            }
            return
        }
        let shows: ServerMessage.Disclosure =
            state.grant.read.admits(key) ? room <= 0 ? .withoutValue : .everything : .nothing
        configuration.framing(&state.acknowledgements) {
            ServerMessage.writeOutcome(result.outcome, id: result.id, key: key, shows: shows, to: &$0)
        }
    }

    /// Lookups were read, as many as fit.
    package mutating func looked(up result: LookupResult, head: UInt64, now: UInt64) {
        let id = result.connection
        guard isConnected(id) else { return }
        if result.head > delivered {
            // Newer than what the connection's subscriptions have got: its time comes with the batch.
            heldLookups.append(result)
            return
        }
        replyFrames(to: id, result.frames)
        connections[Int(id.slot)]?.isLookupInFlight = false
        connections[Int(id.slot)]?.lookups.removeFirst(result.answered)
        if let left = connections[Int(id.slot)]?.lookups, !left.isEmpty {
            // The rest of them, once the socket has taken these.
            if connections[Int(id.slot)]?.isBackedUp == false { look(up: left, of: id) }
        } else {
            runWaiting(of: id, head: head, now: now)
        }
    }

    /// Goes on with lookups that stopped when the socket backed up.
    mutating func resumeLookups(of id: ConnectionID) {
        guard let state = connections[Int(id.slot)], !state.lookups.isEmpty, !state.isLookupInFlight else { return }
        let left = state.lookups
        look(up: left, of: id)
    }
}

extension Incoming {
    /// What the message takes while it waits, in bytes, where that counts.
    var cost: Int {
        switch self {
        case .message(.write(let write)): write.cost
        case .message(.lease(let lease)): lease.cost
        case .message(.batch(let batch)): batch.cost
        default: 0
        }
    }
}

extension WriteOutcome {
    /// Whether the sender is told even where it gave no id: of errors, and of claims, whose fence it needs.
    fileprivate var isAlwaysTold: Bool {
        switch self {
        case .refused, .claimed, .released, .claimRefused: true
        case .applied, .touched, .superseded, .conditionFailed, .absent, .transient, .batched, .batchRefused: false
        }
    }
}

extension ClientMessage.Batch {
    /// Gives `session` to the writes that have none.
    fileprivate mutating func fill(session: [UInt8]) {
        for index in members.indices {
            guard case .write(var write) = members[index], write.session == nil else { continue }
            write.session = session
            members[index] = .write(write)
        }
    }
}
