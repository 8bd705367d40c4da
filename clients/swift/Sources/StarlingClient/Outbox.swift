import Registers

/// A write as an outbox keeps it over restarts.
public struct WriteRecord: Codable, Equatable, Sendable {
    /// The key that it sets or deletes.
    public let key: String
    /// Its full version, which makes it safe to send again.
    public internal(set) var version: String
    /// The value's JSON; nil deletes.
    public let value: String?
    /// Seconds to live.
    public let ttl: Double?
    /// The metadata's JSON.
    public let metadata: String?
    /// The session that it belongs to.
    public let session: String?
    /// What came later: versions do not say it, where a clock was set back.
    public internal(set) var sequence: Int?
}

/// Where a client keeps the writes that the server has not answered yet. All calls come one after the other.
public protocol OutboxStore: Sendable {
    /// Everything that was put and not removed. Is called once, before everything else.
    func load() throws -> [WriteRecord]
    /// Keeps a record. What the process does after this returned, it does not lose.
    func put(_ record: WriteRecord) throws
    /// Forgets a record; nothing happens where there is none.
    func remove(version: String) throws
    /// Lets somebody else have it. Is called once, after everything else.
    func close()
    /// Whether what it holds outlasts the process.
    var isDurable: Bool { get }
}

extension OutboxStore {
    /// Does nothing.
    public func close() {}

    /// It does.
    public var isDurable: Bool { true }
}

/// Keeps nothing over a restart.
public struct MemoryOutbox: OutboxStore {
    /// Makes one.
    public init() {}

    /// Nothing.
    public func load() -> [WriteRecord] { [] }

    /// Does nothing.
    public func put(_ record: WriteRecord) {}

    /// Does nothing.
    public func remove(version: String) {}

    /// It does not.
    public var isDurable: Bool { false }
}

/// The writes that the server has not answered yet. Of the ones to a key that are not on their way, only the newest is kept. Each has its
/// full version from the start, so that sending it again is safe.
struct Outbox: Sendable {
    struct Write: Sendable {
        enum State { case waiting, sent }

        /// What whoever waits for the outcome knows it by.
        let token: Int
        var record: WriteRecord
        var held: Held
        var state = State.waiting
        /// What the server knows it by, while it is on its way.
        var wireID = 0
        /// Whether it was not left by an earlier run.
        var isOfThisRun = true
    }

    /// What became of it without the server's doing, and what is to be kept.
    enum Event {
        /// Keeps a record in the place of the one with an older version of the same write.
        case replace(version: String, WriteRecord)
        case remove(version: String)
        case collapsed(token: Int, key: String, version: String)
    }

    private var writes: [Int: Write] = [:]
    /// What is to be sent, with some that are done already: first what was on its way before, then the others.
    private var again: [Int] = []
    private var unsent: [Int] = []
    private var unsentHead = 0
    private var inFlight: [Int: Int] = [:]
    /// The writes to each key, in the order they were made.
    private var byKey: [Key: [Int]] = [:]
    private var nextToken = 1
    private var nextWireID = 1
    /// What the next write is to have.
    private(set) var nextSequence = 1
    private(set) var events: [Event] = []

    var count: Int { writes.count }
    var inFlightCount: Int { inFlight.count }
    /// All of them, oldest first.
    var all: [Write] { writes.keys.sorted().compactMap { writes[$0] } }

    subscript(token: Int) -> Write? { writes[token] }

    mutating func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }

    /// The newest write to a key.
    func newest(_ key: Key) -> Held? { byKey[key]?.last.flatMap { writes[$0]?.held } }

    /// Puts a write in that the store has, and ends the one that it makes needless as superseded.
    ///
    /// - Returns: its token.
    mutating func add(_ record: WriteRecord, _ register: Register, isOfThisRun: Bool = true) -> Int {
        let token = nextToken
        nextToken += 1
        nextSequence = max(nextSequence, (record.sequence ?? 0) + 1)
        enqueue(token)
        writes[token] = Write(
            token: token, record: record, held: Held(register: register, isOwn: true), isOfThisRun: isOfThisRun)
        let previous = byKey[register.key]?.last
        byKey[register.key, default: []].append(token)
        if let previous, writes[previous]?.state == .waiting { collapse(previous) }
        return token
    }

    private mutating func enqueue(_ token: Int) {
        // One key written all the time while there is no server must not fill memory with what was collapsed.
        if unsent.count - unsentHead > 2 * writes.count + 1_024 {
            unsent = writes.values.filter { $0.state == .waiting }.map(\.token).sorted()
            unsentHead = 0
            again = []
        }
        unsent.append(token)
    }

    private mutating func collapse(_ token: Int) {
        guard let write = finish(token) else { return }
        events.append(.collapsed(token: token, key: write.record.key, version: write.record.version))
    }

    /// The next write to send; nil if there is none.
    mutating func take() -> Write? {
        while let token = nextToSend() {
            guard writes[token]?.state == .waiting else { continue }
            writes[token]?.state = .sent
            writes[token]?.wireID = nextWireID
            inFlight[nextWireID] = token
            nextWireID += 1
            return writes[token]
        }
        return nil
    }

    private mutating func nextToSend() -> Int? {
        if !again.isEmpty { return again.removeFirst() }
        guard unsentHead < unsent.count else { return nil }
        defer {
            unsentHead += 1
            if unsentHead > 1_024, unsentHead * 2 > unsent.count {
                unsent.removeFirst(unsentHead)
                unsentHead = 0
            }
        }
        return unsent[unsentHead]
    }

    /// The sequence of the first write that is not on its way; the greatest number: all are.
    var firstWaitingSequence: Int {
        mutating get {
            while let token = again.first, writes[token]?.state != .waiting { again.removeFirst() }
            while unsentHead < unsent.count, writes[unsent[unsentHead]]?.state != .waiting { unsentHead += 1 }
            let heads = [again.first, unsentHead < unsent.count ? unsent[unsentHead] : nil]
            return heads.compactMap { $0 }.compactMap { writes[$0]?.record.sequence }.min() ?? .max
        }
    }

    /// The write on its way under an id.
    func find(wireID: Int) -> Write? { inFlight[wireID].flatMap { writes[$0] } }

    /// Takes a write out that has its final answer.
    @discardableResult
    mutating func finish(_ token: Int) -> Write? {
        guard let write = writes.removeValue(forKey: token) else { return nil }
        inFlight[write.wireID] = nil
        events.append(.remove(version: write.record.version))
        let key = write.held.register.key
        byKey[key]?.removeAll { $0 == token }
        if byKey[key]?.isEmpty == true { byKey[key] = nil }
        return write
    }

    /// Puts a write back that may be sent again, unless a later one makes it needless.
    mutating func putBack(_ token: Int) {
        guard let write = writes[token] else { return }
        inFlight[write.wireID] = nil
        writes[token]?.state = .waiting
        if byKey[write.held.register.key]?.last == token {
            again.append(token)
        } else {
            collapse(token)
        }
    }

    /// The connection is gone: whatever was on its way may have to be sent again.
    mutating func disconnected() {
        for token in inFlight.sorted(by: { $0.key < $1.key }).map(\.value) { putBack(token) }
    }

    /// Stamps a write anew, unless a later one to its key makes it needless; nothing else of it changes.
    mutating func restamp(_ token: Int, _ version: Version) {
        guard var write = writes[token] else { return }
        guard byKey[write.held.register.key]?.last == token else { return collapse(token) }
        let old = write.record.version
        write.record.version = version.description
        write.held.register.version = version
        write.held.register.expiresAt = Self.expiry(version, write.record.ttl)
        writes[token] = write
        events.append(.replace(version: old, write.record))
        if write.state == .sent { putBack(token) }
    }

    /// Ends all of them here; a durable store keeps its records.
    ///
    /// - Returns: their tokens.
    mutating func close() -> [Int] {
        let tokens = writes.keys.sorted()
        let unkept = events
        self = Outbox()
        events = unkept
        return tokens
    }

    /// When a write expires, as the server reckons: its stamp plus its time to live.
    static func expiry(_ version: Version, _ ttl: Double?) -> WallTime? {
        ttl.map {
            WallTime(milliseconds: version.stamp.milliseconds) + UInt64(min(max(0, ($0 * 1_000).rounded(.up)), 1e15))
        }
    }
}

extension WriteRecord {
    /// The register that this writes.
    ///
    /// - Throws: ``StarlingError`` `bad_key` or `bad_version`.
    func register() throws(StarlingError) -> Register {
        let parsed: Version
        do throws(VersionError) {
            parsed = try Version(version)
        } catch {
            throw StarlingError("bad_version", error.description)
        }
        do throws(TextError) {
            return Register(
                key: try Key(key), version: parsed, value: value.map { Array($0.utf8) },
                expiresAt: Outbox.expiry(parsed, ttl),
                metadata: metadata.map { Array($0.utf8) }, session: session.map { Array($0.utf8) })
        } catch {
            throw StarlingError("bad_key", error.description)
        }
    }
}
