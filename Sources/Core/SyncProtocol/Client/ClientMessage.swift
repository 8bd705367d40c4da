package import Registers

/// What a client's message can be, by its `type`.
package enum MessageType: String, CaseIterable, Sendable {
    case subscribe, unsubscribe, broadcast, delete, get, list, claim, renew, release, touch, batch, digest, hello, ping

    private static let names = allCases.map { (bytes: Array($0.rawValue.utf8), type: $0) }

    init?(_ name: Span<UInt8>) {
        for (bytes, type) in Self.names where ByteOrder.areEqual(bytes.span, name) {
            self = type
            return
        }
        return nil
    }
}

/// A message from a client, as far as it can be judged by itself.
package enum ClientMessage: Sendable {
    case hello(Hello)
    case subscribe(Subscribe)
    case unsubscribe(id: RequestID)
    case write(Write)
    case lease(Lease)
    case touch(Touch)
    case batch(Batch)
    case get(id: RequestID?, key: Key)
    case list(List)
    case digest(Digest)
    case call(Call)
    case service(ServiceCall)
    case ping(id: RequestID?)

    /// The id that the answer carries.
    package var id: RequestID? {
        switch self {
        case .hello(let hello): hello.id
        case .subscribe(let subscribe): subscribe.id
        case .unsubscribe(let id): id
        case .write(let write): write.id
        case .lease(let lease): lease.id
        case .touch(let touch): touch.id
        case .batch(let batch): batch.id
        case .get(let id, _): id
        case .list(let list): list.id
        case .digest(let digest): digest.id
        case .call(let call): call.id
        case .service(let call): call.id
        case .ping(let id): id
        }
    }

    /// `{"type":"hello","agent":…,"session":…,"token":…}`
    package struct Hello: Sendable {
        package var id: RequestID?
        package var agent: Agent?
        package var session: [UInt8]?
        /// The credentials that it brings.
        package var token: String?
    }

    /// `{"type":"subscribe","id":…,"pattern":…}`
    package struct Subscribe: Sendable {
        /// The subscription's name on this connection; its pattern where none was given.
        package var id: RequestID
        package var pattern: Pattern
        package var since: Cursor?
        package var wantsSnapshot: Bool
        /// Whether updates written on this very connection come back to it.
        package var wantsEcho: Bool
        package var wantsCursors: Bool
        /// Whether to be told how many updates were skipped after having been too slow.
        package var wantsConflated: Bool

        package init(
            id: RequestID, pattern: Pattern, since: Cursor? = nil, wantsSnapshot: Bool = true, wantsEcho: Bool = true,
            wantsCursors: Bool = false, wantsConflated: Bool = false
        ) {
            self.id = id
            self.pattern = pattern
            self.since = since
            self.wantsSnapshot = wantsSnapshot
            self.wantsEcho = wantsEcho
            self.wantsCursors = wantsCursors
            self.wantsConflated = wantsConflated
        }
    }

    /// `{"type":"list","pattern":…,"limit":…,"after":…}`
    package struct List: Sendable {
        package static let maximumLimit = 1_000
        package static let defaultLimit = 100

        package var id: RequestID?
        package var pattern: Pattern
        package var limit: Int
        package var after: Key?

        package init(id: RequestID?, pattern: Pattern, limit: Int = defaultLimit, after: Key? = nil) {
            self.id = id
            self.pattern = pattern
            self.limit = limit
            self.after = after
        }
    }

    /// `{"type":"broadcast","key":…,"value":…}` or `{"type":"delete","key":…}`
    package struct Write: RecordHolder, Sendable {
        /// Who stamps the write.
        package enum Stamping: Equatable, Sendable {
            case server
            /// The client's milliseconds; the server adds the counter and the connection's agent.
            case timestamp(UInt64)
            case version(Version)
        }

        /// What has to be in place for the write to happen.
        package enum Condition: Equatable, Sendable {
            case none
            case absent
            case version(Version)
        }

        package var id: RequestID?
        /// Key, value, metadata, session and op.
        package var record: Record
        package var stamping: Stamping
        package var condition: Condition
        /// Time to live, in milliseconds.
        package var timeToLive: UInt64?
        package var isTransient: Bool
        /// The lease that has to be in force for the write to happen.
        package var fence: FencedKey?
        /// Whether the register ends with the connection.
        package var endsWithConnection = false

        /// Whether it is made only if something holds.
        package var isConditional: Bool { condition != .none || fence != nil }

        package init(
            id: RequestID? = nil, key: Key, value: [UInt8]?, stamping: Stamping = .server,
            condition: Condition = .none, timeToLive: UInt64? = nil, metadata: [UInt8]? = nil,
            session: [UInt8]? = nil, op: [UInt8]? = nil, isTransient: Bool = false
        ) {
            self.init(
                id: id,
                key.record.with(value: value?.span, metadata: metadata?.span, session: session?.span, op: op?.span))
            self.stamping = stamping
            self.condition = condition
            self.timeToLive = timeToLive
            self.isTransient = isTransient
        }

        package init(id: RequestID?, _ record: Record) {
            self.id = id
            self.record = record
            stamping = .server
            condition = .none
            isTransient = false
        }

        package var key: Key { Key(record) }

        /// Whether it deletes the key.
        package var isDelete: Bool { !record.has(.value) }
    }

    /// A fencing token: `{"key":…,"token":…}`.
    package struct FencedKey: Equatable, Sendable {
        /// The key that was claimed.
        package var key: Key
        /// What `claimed` gave as `fence`.
        package var fence: Fence

        package init(key: Key, fence: Fence) {
            self.key = key
            self.fence = fence
        }
    }

    /// `{"type":"claim","key":…,"ttl":…}`, and what keeps a claim or gives it up.
    package struct Lease: Sendable {
        package enum Action: String, Sendable {
            case claim
            case renew
            case release
        }

        package var action: Action
        package var id: RequestID?
        package var key: Key
        /// The token that the sender holds; nil where it has none yet.
        package var fence: Fence?
        /// How long the lease is to last from now, in milliseconds.
        package var timeToLive: UInt64?
        package var endsWithConnection: Bool
        /// The value for others to see; nil for the usual one, or the one that is there.
        package var value: [UInt8]?
        package var metadata: [UInt8]?
        package var session: [UInt8]?
        package var op: [UInt8]?

        package init(
            _ action: Action, id: RequestID? = nil, key: Key, fence: Fence? = nil, timeToLive: UInt64? = nil,
            endsWithConnection: Bool = false, value: [UInt8]? = nil, metadata: [UInt8]? = nil,
            session: [UInt8]? = nil, op: [UInt8]? = nil
        ) {
            self.action = action
            self.id = id
            self.key = key
            self.fence = fence
            self.timeToLive = timeToLive
            self.endsWithConnection = endsWithConnection
            self.value = value
            self.metadata = metadata
            self.session = session
            self.op = op
        }
    }

    /// `{"type":"touch","key":…,"ttl":…}`: a later expiry under the same version.
    package struct Touch: Sendable {
        package var id: RequestID?
        package var key: Key
        /// How long the register is to live from now, in milliseconds.
        package var timeToLive: UInt64

        package init(id: RequestID? = nil, key: Key, timeToLive: UInt64) {
            self.id = id
            self.key = key
            self.timeToLive = timeToLive
        }
    }

    /// `{"type":"digest","pattern":…,"after":…,"through":…,"limit":…}`: what a range of keys holds, in a few bytes.
    package struct Digest: Sendable {
        package static let maximumLimit = 10_000
        package static let defaultLimit = 1_000

        package var id: RequestID?
        package var pattern: Pattern
        package var after: Key?
        /// The last key that counts; nil: no end but the limit.
        package var through: Key?
        package var limit: Int

        package init(
            id: RequestID?, pattern: Pattern, after: Key? = nil, through: Key? = nil, limit: Int = defaultLimit
        ) {
            self.id = id
            self.pattern = pattern
            self.after = after
            self.through = through
            self.limit = limit
        }
    }
}
