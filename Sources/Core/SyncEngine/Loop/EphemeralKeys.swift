import Registers
import SyncProtocol

/// What ends with the connections of an event loop: claims and registers with `"until":"disconnect"`. Each is a short lease, which is kept up here
/// while its connection lives, and ended when that is gone. Should nobody be left to end it, its time ends it.
struct EphemeralKeys {
    /// Something to ask of the committer.
    struct Request {
        var action: WriteRequest.Action
        var connection: ConnectionID
    }

    fileprivate struct Lease {
        var fence: Fence
        var expiresAt: WallTime
        var upkeep: Upkeep
    }

    /// Who sees to it that a lease does not end before its connection.
    fileprivate enum Upkeep {
        /// This does; `askedAt`: when it last asked for that, 0: it has not since the lease was made.
        case server(askedAt: WallTime)
        /// The client does, who has given it a time.
        case client
    }

    fileprivate struct Connection {
        var leases: [Key: Lease] = [:]
        /// How many requests for more are under way.
        var requested = 0

        var isNeeded: Bool { requested > 0 || !leases.isEmpty }
    }

    /// The end of a lease that has been asked for, and is not answered. A key that went from one connection to another has one of each.
    private struct Ending: Hashable {
        var key: EphemeralKey
        var connection: ConnectionID

        /// So that they come in the same order each time.
        var order: (Key, Int32) { (key.key, connection.slot) }
    }

    /// From so many milliseconds before its end on, a lease is kept up.
    private static let margin = WriteJudge.connectionLease * 3 / 5
    /// After so many milliseconds without an answer it is asked for again.
    private static let patience: UInt64 = 5_000

    private var connections: [ConnectionID: Connection] = [:]
    /// When each was asked for; 0: it will be counted from the next round on.
    private var endings: [Ending: WallTime] = [:]

    /// How many there are of connections that live.
    var count: Int { connections.values.reduce(0) { $0 + $1.leases.count } }

    /// Those of connections that live, and those of connections that are gone which have not ended yet.
    var keys: [EphemeralKey] {
        connections.values.flatMap { $0.leases.map { EphemeralKey(key: $0.key, fence: $0.value.fence) } }
            + endings.keys.map(\.key)
    }

    /// Whether a connection has any, or has asked for one.
    func areAny(of id: ConnectionID) -> Bool { connections[id] != nil }

    /// How many a connection has, or has asked for.
    func count(of id: ConnectionID) -> Int { connections[id].map { $0.leases.count + $0.requested } ?? 0 }

    func has(_ key: Key, _ id: ConnectionID) -> Bool { connections[id]?.leases[key] != nil }

    /// A connection asks for one.
    mutating func requested(by id: ConnectionID) { connections[id, default: Connection()].requested += 1 }

    /// A write was answered: what that says of its connection's.
    ///
    /// - Parameter isConnected: whether the connection is there to be told.
    /// - Returns: what is to be asked for: it came too late for its connection.
    mutating func answered(_ result: CommittedChanges.Result, isConnected: Bool) -> Request? {
        if let ended = result.ended {
            // A failure is no end: it is asked for again.
            if case .refused = result.outcome { return nil }
            endings[Ending(key: ended, connection: result.connection)] = nil
            return nil
        }
        let id = result.connection
        guard isConnected else { return result.ephemeral.map { end($0.key, of: id) } }
        if result.request.endsWithConnection { update(id) { $0.requested -= 1 } }
        let released =
            switch result.outcome {
            case .batched(let receipt): receipt.released
            case .called(let answer): answer.released
            default: [] as [ClientMessage.FencedKey]
            }
        if !released.isEmpty {
            update(id) { connection in
                for claim in released where connection.leases[claim.key]?.fence == claim.fence {
                    connection.leases[claim.key] = nil
                }
            }
        }
        if let ephemeral = result.ephemeral {
            connections[id, default: Connection()].note(ephemeral)
            return nil
        }
        guard let key = result.key else { return nil }
        switch result.outcome {
        case .released: update(id) { $0.leases[key] = nil }
        // Unless it has been made anew since it was to be kept.
        case .claimRefused where !result.request.isFromClient:
            update(id) { if $0.leases[key]?.upkeep.hasAsked == true { $0.leases[key] = nil } }
        default: break
        }
        return nil
    }

    private mutating func update(_ id: ConnectionID, _ body: (inout Connection) -> Void) {
        guard let index = connections.index(forKey: id) else { return }
        body(&connections.values[index])
        assert(connections.values[index].requested >= 0, "more was answered than asked for")
        if !connections.values[index].isNeeded { connections.remove(at: index) }
    }

    /// A connection is gone.
    ///
    /// - Returns: what is to be asked for: the ends of what it had.
    mutating func disconnected(_ id: ConnectionID) -> [Request] {
        guard let connection = connections.removeValue(forKey: id) else { return [] }
        return connection.leases.sorted { $0.key < $1.key }.map { key, lease in
            end(EphemeralKey(key: key, fence: lease.fence), of: id)
        }
    }

    private mutating func end(_ key: EphemeralKey, of id: ConnectionID) -> Request {
        endings[Ending(key: key, connection: id)] = .zero
        return Request(action: .end(key), connection: id)
    }

    /// Keeps up what would be over soon, and ends what could not be ended. To be called every second or so.
    ///
    /// - Returns: what is to be asked for.
    mutating func keepUp(now: WallTime) -> [Request] {
        var requests: [Request] = []
        for id in connections.keys.sorted(by: { $0.slot < $1.slot }) {
            update(id) { $0.keepUp(of: id, now: now, margin: Self.margin, patience: Self.patience, &requests) }
        }
        for (ending, askedAt) in endings.sorted(by: { $0.key.order < $1.key.order }) {
            if askedAt == .zero {
                endings[ending] = now
            } else if askedAt + Self.patience <= now {
                endings[ending] = now
                requests.append(Request(action: .end(ending.key), connection: ending.connection))
            }
        }
        return requests
    }
}

extension EphemeralKeys.Upkeep {
    fileprivate var hasAsked: Bool {
        switch self {
        case .server(let askedAt): askedAt != 0
        case .client: false
        }
    }
}

extension EphemeralKeys.Connection {
    /// A lease was made or kept.
    fileprivate mutating func note(_ ephemeral: CommittedChanges.Ephemeral) {
        let upkeep: EphemeralKeys.Upkeep
        switch ephemeral.upkeep {
        case .server: upkeep = .server(askedAt: 0)
        case .client: upkeep = .client
        case .asBefore:
            if case .client? = leases[ephemeral.key.key]?.upkeep {
                upkeep = .client
            } else {
                upkeep = .server(askedAt: 0)
            }
        }
        leases[ephemeral.key.key] = EphemeralKeys.Lease(
            fence: ephemeral.key.fence, expiresAt: ephemeral.expiresAt, upkeep: upkeep)
    }

    fileprivate mutating func keepUp(
        of id: ConnectionID, now: WallTime, margin: UInt64, patience: UInt64, _ requests: inout [EphemeralKeys.Request]
    ) {
        for (key, lease) in leases.sorted(by: { $0.key < $1.key }) {
            switch lease.upkeep {
            case .client: if lease.expiresAt < now { leases[key] = nil }
            case .server(let askedAt):
                guard lease.expiresAt < now + margin, askedAt + patience <= now else { continue }
                leases[key]?.upkeep = .server(askedAt: now)
                requests.append(.init(action: .keep(EphemeralKey(key: key, fence: lease.fence)), connection: id))
            }
        }
    }
}
