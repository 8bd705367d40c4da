/// Every code that an `error` message can carry. protocol/README.md documents each, and a test triggers each.
package enum ErrorCode: String, CaseIterable, Sendable {
    /// The message is not JSON.
    case badJSON = "bad_json"
    /// The message is JSON, but a field has the wrong type, stands twice, or does not go with another.
    case badMessage = "bad_message"
    case unknownType = "unknown_type"
    case missingField = "missing_field"
    case badKey = "bad_key"
    case badPattern = "bad_pattern"
    case badVersion = "bad_version"
    case badCursor = "bad_cursor"
    /// A value is greater than the limit.
    case tooLarge = "too_large"
    /// A stamp is too far ahead of the server's clock.
    case drift
    /// A stamp is older than the horizon of collected tombstones.
    case staleVersion = "stale_version"
    /// A cursor is older than the horizon, or ahead of this database.
    case resyncRequired = "resync_required"
    case duplicateSubscription = "duplicate_subscription"
    case unknownSubscription = "unknown_subscription"
    /// The key is under somebody's claim.
    case held
    /// A claim is for a key that has a value which no claim made.
    case exists
    /// The lease that a fencing token is of has passed on.
    case staleFence = "stale_fence"
    /// The connection has as many claims and registers that end with it as it may have.
    case tooManyHolds = "too_many_holds"
    case tooManySubscriptions = "too_many_subscriptions"
    /// More writes are waiting than the server queues.
    case overloaded
    /// The database refused to read or to write; nothing was changed.
    case storageFailed = "storage_failed"
    /// The commit failed half-way: the write may be there after a restart, or not.
    case outcomeUnknown = "outcome_unknown"
    /// The server wants credentials, or those that it was shown are not valid.
    case unauthorized
    /// The credentials do not allow it.
    case forbidden
    /// The time of the credentials is over.
    case accessExpired = "access_expired"
    /// What the credentials allow has changed.
    case accessChanged = "access_changed"
    /// Messages come faster than allowed.
    case rateLimited = "rate_limited"
    /// There are as many keys as the credentials allow.
    case tooManyKeys = "too_many_keys"
    /// There is no such swarm, task or presence.
    case absent
    /// Only calls change the key.
    case guarded
    /// Tasks would wait for each other.
    case cycle
    /// A task is to wait for one that there is not.
    case missingDependency = "missing_dependency"
    /// The task is not in a state in which that can be done.
    case notReady = "not_ready"
    /// The agent is no member of the swarm.
    case notMember = "not_member"
    /// There are as many live tasks as there may be.
    case tooManyTasks = "too_many_tasks"
    /// As many calls wait for a task as may, or this connection's does already.
    case tooManyWaiters = "too_many_waiters"
    /// The receiver has as many messages that it has not acknowledged as it may have.
    case inboxFull = "inbox_full"
    /// The client has sent nothing for too long, and waits for nothing.
    case idle
    /// The client has read nothing for too long.
    case stalled
    /// The server is stopping.
    case shuttingDown = "shutting_down"

    /// Whether the same message may succeed when it is sent again later.
    package var mayRetry: Bool {
        switch self {
        case .overloaded, .storageFailed, .outcomeUnknown, .shuttingDown, .held, .stalled, .rateLimited,
            .accessChanged, .idle, .tooManyWaiters, .inboxFull:
            true
        case .badJSON, .badMessage, .unknownType, .missingField, .badKey, .badPattern, .badVersion, .badCursor,
            .tooLarge, .drift, .staleVersion, .resyncRequired, .duplicateSubscription, .unknownSubscription,
            .tooManySubscriptions, .exists, .staleFence, .tooManyHolds, .unauthorized, .forbidden, .accessExpired,
            .tooManyKeys, .absent, .guarded, .cycle, .missingDependency, .notReady, .notMember, .tooManyTasks:
            false
        }
    }
}

/// An `error` message: what was wrong with a message, for a program and for a person.
package struct WireError: Error, Equatable, Sendable {
    package var code: ErrorCode
    /// What was wrong, and where.
    package var message: String
    /// What to do about it, where that does not follow.
    package var hint: String?
    /// The id of the message, if it could be read.
    package var id: RequestID?
    /// For ``ErrorCode/drift``: the client's clock and the server's, in milliseconds.
    package var clocks: Clocks?
    /// For ``ErrorCode/rateLimited``: how long to wait, in milliseconds.
    package var retryAfter: UInt64?
    /// The message for those who may not read the key that it is about.
    package var redacted: String?

    package struct Clocks: Equatable, Sendable {
        package var timestamp: UInt64
        package var serverTime: UInt64

        package init(timestamp: UInt64, serverTime: UInt64) {
            self.timestamp = timestamp
            self.serverTime = serverTime
        }
    }

    package init(_ code: ErrorCode, _ message: String, hint: String? = nil, id: RequestID? = nil, clocks: Clocks? = nil)
    {
        self.code = code
        self.message = message
        self.hint = hint
        self.id = id
        self.clocks = clocks
    }
}
