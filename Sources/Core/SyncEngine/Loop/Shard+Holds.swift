import Registers
import SyncProtocol

/// What is bound to connections: claims and registers with `"until":"disconnect"`. Each is a short lease, which is kept up
/// here while its connection lives, and ended when that is gone. Should nobody be left to end it, its time ends it.
extension Shard {
    /// A hold of a connection.
    struct HeldRegister {
        var fence: UInt64
        var expiresAt: UInt64
        var isKept: Bool
        /// When it was last asked to be kept.
        var askedAt: UInt64 = 0
    }

    /// The end of a hold that has been asked for, and is not answered.
    struct PendingEnd {
        var connection: ConnectionID
        var askedAt: UInt64
    }

    /// From so many milliseconds before its end on, a hold is kept up.
    private static let margin = WriteJudge.connectionLease * 3 / 5
    /// After so many milliseconds without an answer it is asked for again.
    private static let patience: UInt64 = 5_000

    /// Notes what a result says of a hold.
    mutating func noteHold(_ result: CommittedBatch.Result) {
        if let ended = result.ended {
            // A failure is no end: it is asked for again.
            if case .refused = result.outcome { return }
            pendingEnds[ended] = nil
            return
        }
        guard let state = connection(result.connection) else {
            // It came too late for its connection.
            if let held = result.hold { end(held.hold, of: result.connection) }
            return
        }
        if case .batched(let receipt) = result.outcome {
            for claim in receipt.released where state.holds[claim.key]?.fence == claim.token {
                state.holds[claim.key] = nil
            }
        }
        guard let key = result.key else { return }
        if let held = result.hold {
            state.holds[key] = HeldRegister(
                fence: held.hold.fence, expiresAt: held.expiresAt,
                isKept: held.isKept ?? state.holds[key]?.isKept ?? true)
            holders.insert(result.connection.slot)
            return
        }
        switch result.outcome {
        case .released: state.holds[key] = nil
        // Unless it has been made anew since it was to be kept.
        case .claimRefused where !result.isFromClient && state.holds[key]?.askedAt != 0:
            state.holds[key] = nil
        default: break
        }
    }

    /// Keeps up what would be over soon, and ends what could not be ended. To be called every second or so.
    package mutating func keepHolds(now: UInt64) {
        for slot in holders.sorted() {
            guard let state = connections[Int(slot)], !state.holds.isEmpty else {
                holders.remove(slot)
                continue
            }
            for (key, held) in state.holds.sorted(by: { $0.key < $1.key }) {
                if !held.isKept {
                    if held.expiresAt < now { state.holds[key] = nil }
                } else if held.expiresAt < now + Self.margin, held.askedAt + Self.patience <= now {
                    state.holds[key]?.askedAt = now
                    ask(.keep(Hold(key: key, fence: held.fence)), of: state.id)
                }
            }
        }
        for (hold, pending) in pendingEnds.sorted(by: { $0.key.key < $1.key.key }) {
            if pending.askedAt == 0 {
                pendingEnds[hold]?.askedAt = now
            } else if pending.askedAt + Self.patience <= now {
                pendingEnds[hold]?.askedAt = now
                ask(.end(hold), of: pending.connection)
            }
        }
    }

    /// What connections here hold, and what those held that are gone and that has not ended yet.
    package var holds: [Hold] {
        holders.flatMap { slot in
            (connections[Int(slot)]?.holds ?? [:]).map { Hold(key: $0.key, fence: $0.value.fence) }
        } + pendingEnds.keys
    }

    /// A connection is gone: so is what it holds.
    mutating func endHolds(of state: ConnectionState) {
        for (key, held) in state.holds.sorted(by: { $0.key < $1.key }) {
            end(Hold(key: key, fence: held.fence), of: state.id)
        }
        holders.remove(state.id.slot)
    }

    private mutating func end(_ hold: Hold, of id: ConnectionID) {
        pendingEnds[hold] = PendingEnd(connection: id, askedAt: 0)
        ask(.end(hold), of: id)
    }

    private mutating func ask(_ action: WriteRequest.Action, of id: ConnectionID) {
        writes.append(
            WriteRequest(
                action: action, agent: Agent(random: 0), origin: Origin(loop: configuration.loop, connection: id)))
    }

    /// Why a message that would make one hold more cannot be carried out.
    func holdLimit(_ message: ClientMessage, _ state: ConnectionState) -> WireError? {
        guard state.holds.count + Int(state.holdsAskedFor) >= configuration.maximumHolds else { return nil }
        let key: Key
        let id: RequestID?
        switch message {
        case .write(let write) where write.endsWithConnection: (key, id) = (write.key, write.id)
        case .lease(let lease) where lease.endsWithConnection: (key, id) = (lease.key, lease.id)
        default: return nil
        }
        if state.holds[key] != nil { return nil }
        return WireError(
            .tooManyHolds,
            "this connection holds, or has asked for, \(configuration.maximumHolds) registers until it disconnects; "
                + "that is the limit",
            hint: "claim with a \"ttl\" instead, or use another connection", id: id)
    }
}
