import SyncProtocol

/// How a client stands to its server.
public enum ConnectionState: String, Sendable {
    case connecting
    /// Connected; what happened meanwhile is on its way.
    case catchingUp = "catching-up"
    /// The replica is as new as the server's database, but for the time that a change takes to get here.
    case live
    /// There is no connection; the next attempt waits for its time.
    case offline
    case closed
}

/// What became of a write.
public struct Outcome: Equatable, Sendable {
    /// What became of it, in a word.
    public enum Status: String, Sendable {
        /// It is in the database.
        case applied
        /// Something greater is: another agent's write, or this client's own next one.
        case superseded
        /// `expect` was not met.
        case condition
    }

    /// What became of it, in a word.
    public let status: Status
    /// The key that was to be set or deleted.
    public let key: String
    /// The version of the write.
    public let version: String?
    /// Its place in the order of changes of the server's database; nil where it is not in it.
    public let revision: UInt64?
    /// Whether it is stored, as far as the server's `--durability` goes.
    public let isDurable: Bool
    /// The register that stays in place, as JSON, where the server said so: for `superseded` and `condition`.
    public let current: String?
    /// When it expires, in milliseconds since 1970, as the server says; nil: not by itself.
    public var expiresAt: UInt64?
    /// Whether the server has judged a condition: an expectation, or a fence.
    public var isJudged = false
}

/// What an engine wants done.
enum Effect {
    case dial(String)
    case send([UInt8])
    case hangUp
    case probe(String)
    case state(ConnectionState)
    case log(LogLevel, String)
    case tell(subscription: Int, slot: Slot, Update)
    case synced(subscription: Int)
    case ended(subscription: Int, StarlingError?)
    case settled(write: Int, Result<Outcome, StarlingError>)
    case answered(request: Int, Result<JSONObject, StarlingError>)
    /// To try again cannot help: what the server has against the credentials, or why there is no server.
    case verdict(StarlingError)
    case claimEnded(claim: Int, ClaimEnd)
    case store(Outbox.Event)
}

enum LogLevel {
    case info, warning, error
}

/// What an update may be conflated with.
enum Slot: Hashable {
    case register(String)
    case transient(String)
}
