import Access
import NIOCore
import Registers
import SyncProtocol

/// What an event loop knows of one connection. A class, since it is looked at many times a message: a copy would count
/// its dozen arrays and dictionaries up and down each time.
final class ConnectionState {
    enum Socket {
        case keepsUp
        /// It has more to send than it should: no pages are read, and no live updates are handed over.
        case backedUp
    }

    // In an order that leaves few gaps: there may be a million of them.
    let id: ConnectionID
    var agent: Agent
    /// What its credentials allow.
    var grant: Grant
    /// How fast it may send; nil: as it likes.
    let rate: RateLimiter?
    /// In milliseconds.
    let connectedAt: WallTime
    var lastMessageAt: WallTime
    /// The session that writes belong to unless they name one.
    var session: [UInt8]?
    var counters = TimestampCounters()

    /// The subscriptions by their ids.
    var subscriptions = SmallDictionary<RequestID, SubscriptionID>()
    /// What their patterns cost together: ``Filter/matchingCost``.
    var matchingCost = 0
    /// Subscriptions that are catching up, the next one to read for first.
    var catchingUp: [SubscriptionID] = []

    var order = MessageOrder()
    /// The ids of calls that wait to be answered, whatever else the connection sends.
    var waitingCalls: [RequestID?] = []
    /// Whether it is there, for the services that answer its calls; nil: there were none.
    var life: CallLife?

    /// How many subscriptions have not sent `synced`, and how many have `echo:false`.
    var unsynced: Int32 = 0
    var silent: Int32 = 0
    /// How many more messages came too fast than in time, and how many credentials were not valid.
    var strikes: Int32 = 0
    /// How many of its calls services are answering.
    var services: Int32 = 0
    var attempts: Int32 = 0

    var socket = Socket.keepsUp
    var page = PageTurns.Place.none
    /// Answers to writes, which leave before the fan-out of their commit.
    var acknowledgements = ByteBuffer()
    /// Everything else, which leaves after it.
    var replies = ByteBuffer()

    init(id: ConnectionID, agent: Agent, grant: Grant, rate: RateLimit.Limits?, now: WallTime) {
        self.id = id
        self.agent = grant.agent ?? agent
        self.grant = grant
        self.rate = rate.map { RateLimiter($0) }
        connectedAt = now
        lastMessageAt = now
    }

    var isBackedUp: Bool { socket == .backedUp }
    /// Whether anything is to be sent to it at the next flush.
    var hasOutput: Bool { acknowledgements.readableBytes > 0 || replies.readableBytes > 0 }

    /// Whether a message that has just come may take effect.
    func mayRunNow(_ incoming: Incoming) -> Bool {
        order.mayRunNow(incoming, isBackedUp: isBackedUp, isSettled: isSettled, isServed: isServed)
    }

    /// Whether every subscription has sent `synced`, and no call waits.
    private var isSettled: Bool { unsynced == 0 && waitingCalls.isEmpty }

    /// Takes what waits for its turn and may take effect now.
    func nextStep() -> MessageOrder.Step? {
        order.next(isBackedUp: isBackedUp, isSettled: isSettled, isServed: isServed)
    }

    /// How many calls of one connection services answer at once; the next one waits, and what comes behind it.
    private static let maximumServices: Int32 = 16
    private var isServed: Bool { services >= Self.maximumServices }

    /// A subscription is not catching up any more.
    func hasCaughtUp(_ id: SubscriptionID) {
        catchingUp.removeAll { $0 == id }
        // Most connections do so once, and then never again.
        if catchingUp.isEmpty { catchingUp = [] }
    }
}
