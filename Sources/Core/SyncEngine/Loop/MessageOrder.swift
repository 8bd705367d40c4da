import SyncProtocol

/// The order in which what one connection sends takes effect: as if each message waited for all before it. Writes wait for lookups only, since
/// the committer keeps their order.
struct MessageOrder {
    /// What is taken from the connection.
    private enum Intake {
        case open
        /// Credentials wait for their turn: what comes behind them is judged by them, and so not taken before.
        case heldForCredentials
        case closed
    }

    /// What was to be read for the connection, and that later messages wait for.
    private enum Lookups {
        case none
        case reading([LookupRequest.Lookup])
        /// These did not fit, and the socket has to take the others first.
        case heldForSocket([LookupRequest.Lookup])
    }

    /// How much may be under way or waiting before a connection is to be read from no further.
    struct Limits {
        var messages: Int
        /// In bytes.
        var cost: Int
    }

    /// What is to be done next.
    enum Step {
        case run(Incoming)
        case read([LookupRequest.Lookup])
    }

    /// How many lookups are read at once.
    private static let maximumLookups = 256

    private var intake = Intake.open
    private var lookups = Lookups.none
    private var waiting = Queue<Incoming>()
    /// What the writes among that take, in bytes.
    private var waitingCost = 0
    /// Writes that the committer has not answered, and what they cost.
    private var writes = 0
    private var writeCost = 0

    /// Whether nothing more is taken.
    var isClosed: Bool { intake == .closed }
    /// Whether nothing waits, and nothing is under way.
    var isIdle: Bool { waiting.isEmpty && writes == 0 && !isReading }

    private var isReading: Bool {
        if case .none = lookups { false } else { true }
    }

    func isSaturated(_ limits: Limits) -> Bool {
        intake == .heldForCredentials || writes + waiting.count >= limits.messages
            || writeCost + waitingCost >= limits.cost
    }

    // MARK: Messages

    /// Whether a message that has just come may take effect.
    ///
    /// - Parameters:
    ///   - isBackedUp: whether the socket has no room for an answer.
    ///   - isSettled: whether every subscription has sent `synced`, and no call waits.
    ///   - isServed: whether services have as many of its calls as they may.
    func mayRunNow(_ incoming: Incoming, isBackedUp: Bool, isSettled: Bool, isServed: Bool) -> Bool {
        waiting.isEmpty && mayRun(incoming, isBackedUp: isBackedUp, isSettled: isSettled, isServed: isServed)
    }

    private func mayRun(_ incoming: Incoming, isBackedUp: Bool, isSettled: Bool, isServed: Bool) -> Bool {
        if isReading || isBackedUp { return false }
        return switch incoming.predecessors {
        case .lookups: true
        case .writes: writes == 0
        case .services: writes == 0 && !isServed
        case .everything: writes == 0 && isSettled
        }
    }

    /// A message has to wait for its turn.
    mutating func enqueue(_ incoming: Incoming) {
        if case .credentials = incoming, intake == .open { intake = .heldForCredentials }
        waiting.append(incoming)
        waitingCost += incoming.cost
    }

    /// Takes what waits and may take effect now; nil: there is nothing.
    mutating func next(isBackedUp: Bool, isSettled: Bool, isServed: Bool) -> Step? {
        guard let first = waiting.first,
            mayRun(first, isBackedUp: isBackedUp, isSettled: isSettled, isServed: isServed)
        else { return nil }
        guard first.lookup != nil else { return .run(dequeue()) }
        var due: [LookupRequest.Lookup] = []
        while due.count < Self.maximumLookups, let lookup = waiting.first?.lookup {
            _ = dequeue()
            due.append(lookup)
        }
        lookupsBegan(due)
        return .read(due)
    }

    private mutating func dequeue() -> Incoming {
        guard let incoming = waiting.popFirst() else { preconditionFailure("nothing waits") }
        waitingCost -= incoming.cost
        assert(waitingCost >= 0 && (waitingCost == 0 || !waiting.isEmpty))
        return incoming
    }

    /// The credentials that were waited for have had their turn.
    mutating func credentialsRan() {
        if intake == .heldForCredentials { intake = .open }
    }

    /// Nothing more is taken from the connection.
    mutating func close() { intake = .closed }

    // MARK: Writes

    mutating func writeBegan(cost: Int) {
        writes += 1
        writeCost += cost
    }

    mutating func writeAnswered(cost: Int) {
        writes -= 1
        writeCost -= cost
        assert(writes >= 0 && writeCost >= 0 && (writes > 0 || writeCost == 0), "an answer to nothing")
    }

    // MARK: Lookups

    mutating func lookupsBegan(_ due: [LookupRequest.Lookup]) {
        assert(!isReading && !due.isEmpty, "lookups wait for each other")
        lookups = .reading(due)
    }

    /// The first lookups were answered.
    ///
    /// - Returns: what is to be read next, where there are more and the socket has room.
    mutating func lookupsRead(answered: Int, isBackedUp: Bool) -> [LookupRequest.Lookup]? {
        guard case .reading(var left) = lookups else { preconditionFailure("nothing was being read") }
        left.removeFirst(answered)
        if left.isEmpty {
            lookups = .none
            return nil
        }
        lookups = isBackedUp ? .heldForSocket(left) : .reading(left)
        return isBackedUp ? nil : left
    }

    /// The socket has room again.
    ///
    /// - Returns: what is to be read next.
    mutating func socketDrained() -> [LookupRequest.Lookup]? {
        guard case .heldForSocket(let left) = lookups else { return nil }
        lookups = .reading(left)
        return left
    }
}

extension Incoming {
    /// What has to be answered before a message takes effect.
    fileprivate enum Predecessors {
        case lookups
        case writes
        /// Of calls that services answer as many as are too many, too.
        case services
        /// Snapshots and calls that wait too.
        case everything
    }

    fileprivate var predecessors: Predecessors {
        switch self {
        case .message(let message):
            switch message {
            // One at a time of those that may take long: others come in between.
            case .call(let call) where call.mayTakeLong: .writes
            case .write, .lease, .touch, .batch, .call: .lookups
            case .service: .services
            case .get, .list, .digest, .subscribe, .unsubscribe, .hello, .ping: .writes
            }
        case .replicate: .lookups
        case .credentials, .invalid: .writes
        case .close: .everything
        }
    }

    /// What the message takes while it waits, in bytes, where that counts.
    fileprivate var cost: Int {
        switch self {
        case .message(let message):
            switch message {
            case .write(let write): write.cost
            case .lease(let lease): lease.cost
            case .batch(let batch): batch.cost
            case .call(let call): call.cost
            case .touch, .service, .get, .list, .digest, .subscribe, .unsubscribe, .hello, .ping: 0
            }
        case .replicate(let registers, _): WriteRequest.cost(of: registers)
        case .credentials, .invalid, .close: 0
        }
    }

    /// What is to be read for it; nil: it is no lookup.
    fileprivate var lookup: LookupRequest.Lookup? {
        guard case .message(let message) = self else { return nil }
        return message.lookup
    }
}

extension ClientMessage {
    /// What is to be read for it; nil: it is no lookup.
    var lookup: LookupRequest.Lookup? {
        switch self {
        case .get(let id, let key): .get(id: id, key: key)
        case .list(let list): .list(list)
        case .digest(let digest): .digest(digest)
        case .write, .lease, .touch, .batch, .call, .service, .subscribe, .unsubscribe, .hello, .ping: nil
        }
    }
}
