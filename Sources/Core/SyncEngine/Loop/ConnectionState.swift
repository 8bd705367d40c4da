import Access
import NIOCore
import Registers
import SyncProtocol

/// What an event loop knows of one connection. A class, since it is looked at many times a message: a copy would count
/// its dozen arrays and dictionaries up and down each time.
final class ConnectionState {
    // In an order that leaves few gaps: there may be a million of them.
    let id: ConnectionID
    var agent: Agent
    /// What its credentials allow.
    var grant: Grant
    /// How fast it may send; nil: as it likes.
    let rate: RateLimiter?
    /// In milliseconds.
    let connectedAt: UInt64
    var lastMessageAt: UInt64
    /// The session that writes belong to unless they name one.
    var session: [UInt8]?
    var counters = TimestampCounters()

    /// The subscriptions by their ids.
    var subscriptions = SmallDictionary<RequestID, SubscriptionID>()
    /// What their patterns cost together: ``Filter/matchingCost``.
    var matchingCost = 0
    /// How many live subscriptions have each pattern.
    var livePatterns = SmallDictionary<PatternID, Int>()
    /// Subscriptions that are catching up, the next one to read for first.
    var catchingUp: [SubscriptionID] = []

    /// Writes that the committer has not answered, and what they cost.
    var writesInFlight = 0
    var writeCostInFlight = 0
    /// What ends with this connection, by key.
    var holds: [Key: Shard.HeldRegister] = [:]
    /// Lookups that are being read, or wait to be, and that later messages wait for.
    var lookups: [LookupRequest.Lookup] = []
    /// What has come and has to wait for its turn.
    var waiting = Queue<Incoming>()
    /// What the writes among that take, in bytes.
    var waitingCost = 0

    /// How many subscriptions have not sent `synced`.
    var unsynced: Int32 = 0
    /// Requests for more of what ends with the connection which are under way.
    var holdsAskedFor: Int32 = 0
    /// How many more messages came too fast than in time, and how many credentials were not valid.
    var strikes: Int32 = 0
    var attempts: Int32 = 0

    /// Answers to writes, which leave before the fan-out of their batch.
    var acknowledgements = ByteBuffer()
    var hasClosed = false
    /// Everything else, which leaves after it.
    var replies = ByteBuffer()
    var isDirty = false
    /// Whether credentials wait for their turn: what comes behind them is judged by them, and so not taken before.
    var hasWaitingCredentials = false
    /// Whether any subscription has `echo:false`.
    var hasSilentSubscription = false
    var isLookupInFlight = false
    var isPageInFlight = false
    /// Whether it waits for its turn to read a page.
    var isQueuedForPage = false
    /// Whether the socket has more to send than it should: no pages are read, and no live updates are handed over.
    var isBackedUp = false

    init(id: ConnectionID, agent: Agent, grant: Grant, rate: RateLimit.Limits?, now: UInt64) {
        self.id = id
        self.agent = grant.agent ?? agent
        self.grant = grant
        self.rate = rate.map { RateLimiter($0) }
        connectedAt = now
        lastMessageAt = now
    }

    /// A subscription is not catching up any more.
    func hasCaughtUp(_ id: SubscriptionID) {
        catchingUp.removeAll { $0 == id }
        // Most connections do so once, and then never again.
        if catchingUp.isEmpty { catchingUp = [] }
    }

    /// Whether the next message may take effect: nothing that it would have to wait for is under way, and the socket has
    /// room for the answer. Writes wait for lookups only, since the committer keeps their order.
    func mayRun(_ incoming: Incoming) -> Bool {
        if !lookups.isEmpty || isBackedUp { return false }
        switch incoming {
        case .message(.write), .message(.lease), .message(.touch), .message(.batch): return true
        default: break
        }
        if case .close = incoming { return writesInFlight == 0 && unsynced == 0 }
        return writesInFlight == 0
    }
}
