import NIOCore
package import Registers
import SyncProtocol

/// Claims: leases on a key, each with a fencing token (Kleppmann, "How to do distributed locking", 2016). The lease's time
/// is the server's wall clock. Its token is the milliseconds of its stamp, or one more than the last one of the key: stamps
/// only rise, so the token does even when the key has been forgotten in between.
extension WriteJudge {
    mutating func judge(
        _ lease: ClientMessage.Lease, of agent: Agent, current: StoredRegister?, now: WallTime
    ) -> Verdict {
        switch lease.action {
        case .claim: claim(lease, of: agent, current: current, now: now)
        case .renew: renew(lease, of: agent, current: current, now: now)
        case .release: release(lease, of: agent, current: current, now: now)
        }
    }

    private mutating func claim(
        _ lease: ClientMessage.Lease, of agent: Agent, current: StoredRegister?, now: WallTime
    ) -> Verdict {
        if let current, current.isHeld(at: now) {
            if let op = lease.op, current.isOf(op) { return .answer(.claimed(Self.grant(current))) }
            if lease.fence == current.fence { return renew(lease, of: agent, current: current, now: now) }
            return .answer(Self.refusal(.held, current, now: now))
        }
        if let current, current.register.isVisible(at: now) {
            return .answer(.claimRefused(.exists, holder: nil, expiresAt: nil))
        }
        let version = Version(stamp: clock.tick(at: now), agent: agent)
        let fence = nextFence(version.stamp, after: current)
        guard fence <= Self.maximumFence else {
            return .answer(
                .refused(
                    WireError(
                        .storageFailed, "there is no fence above the one of \(lease.key): the database was altered")))
        }
        var register = Register(
            key: lease.key, version: version, value: lease.value ?? Self.value(holder: agent, fence: fence),
            expiresAt: now + (lease.timeToLive ?? Self.connectionLease), metadata: lease.metadata,
            session: lease.session)
        register.op = lease.op
        return .apply(
            Change(
                register: register, kind: .claim, fence: fence,
                binding: lease.endsWithConnection ? .claimUntilDisconnect : .claim))
    }

    private mutating func renew(
        _ lease: ClientMessage.Lease, of agent: Agent, current: StoredRegister?, now: WallTime
    ) -> Verdict {
        guard let current, current.isHeld(at: now), current.fence == lease.fence else {
            return .answer(Self.refusal(.staleFence, current, now: now))
        }
        var register = current.register
        register.version = Version(stamp: clock.tick(at: now), agent: agent)
        if let value = lease.value { register.value = value }
        if let metadata = lease.metadata { register.metadata = metadata }
        if let session = lease.session { register.session = session }
        if let timeToLive = lease.timeToLive {
            register.expiresAt = now + timeToLive
        } else if lease.endsWithConnection {
            register.expiresAt = max(register.expiresAt ?? 0, now + Self.connectionLease)
        }
        // The op stays that of the claim: a renewal can be resent as it is.
        return .apply(
            Change(
                register: register, kind: .claim, fence: current.fence,
                binding: lease.endsWithConnection ? .claimUntilDisconnect : current.binding))
    }

    private mutating func release(
        _ lease: ClientMessage.Lease, of agent: Agent, current: StoredRegister?, now: WallTime
    ) -> Verdict {
        guard let current, current.fence == lease.fence else {
            return .answer(Self.refusal(.staleFence, current, now: now))
        }
        if current.binding == .presence, !current.register.isTombstone {
            // No claim: it ends with its connection, which must not be told that it is over.
            return .answer(Self.refusal(.staleFence, current, now: now))
        }
        guard current.isHeld(at: now) else {
            // Released before, or over by itself, and nobody has claimed it since.
            return .answer(.released(version: current.register.version, revision: current.revision))
        }
        let version = Version(stamp: clock.tick(at: now), agent: agent)
        let register = Register(
            key: lease.key, version: version, value: nil, session: current.register.session)
        return .apply(Change(register: register, kind: .release, fence: current.fence))
    }

    /// An ephemeral key whose connection lives goes on for another while; also one whose time is over and that nobody has ended yet, as where a
    /// sweep was put off: the sweep would do the same, and its connection has to go on knowing of it.
    mutating func keep(_ key: EphemeralKey, current: StoredRegister?, now: WallTime) -> Verdict {
        guard let current, let binding = current.binding, binding.endsWithConnection, current.fence == key.fence,
            !current.register.isTombstone
        else { return .answer(Self.refusal(.staleFence, current, now: now)) }
        let kept = kept(key, current, now: now)
        return .apply(
            Change(register: kept.register, kind: .claim, fence: current.fence, binding: binding))
    }

    /// A register that ends with a connection, with another while before it.
    mutating func kept(_ key: EphemeralKey, _ current: StoredRegister, now: WallTime) -> StoredRegister {
        var kept = current
        kept.register.version = Version(
            stamp: clock.tick(at: now), agent: current.register.version.agent)
        kept.register.expiresAt = max(current.register.expiresAt ?? 0, now + Self.connectionLease)
        return kept
    }

    /// An ephemeral key ends, unless something else has taken its place.
    func end(_ key: EphemeralKey, current: StoredRegister?) -> Verdict {
        guard let current, current.binding?.endsWithConnection == true, current.fence == key.fence,
            !current.register.isTombstone
        else { return .answer(Self.refusal(.staleFence, nil, now: 0)) }
        return .apply(
            Change(register: current.register.ended(.disconnected), kind: .release, fence: current.fence))
    }

    /// The greatest token that is given; a store takes greater ones too. Their usual ones are the milliseconds of the clock.
    package static let maximumFence = Fence(UInt64(Int64.max / 4))

    /// A token above every one that was ever given for the key.
    func nextFence(_ stamp: Stamp, after current: StoredRegister?) -> Fence {
        max(Fence(stamp.milliseconds), max(current?.fence ?? 0, collectedFence).next)
    }

    static func grant(_ stored: StoredRegister) -> WriteOutcome.Grant {
        WriteOutcome.Grant(
            fence: stored.fence, expiresAt: stored.register.expiresAt ?? 0, version: stored.register.version,
            revision: stored.revision)
    }

    private static func refusal(_ code: ErrorCode, _ current: StoredRegister?, now: WallTime) -> WriteOutcome {
        guard let current, current.isHeld(at: now) else { return .claimRefused(code, holder: nil, expiresAt: nil) }
        return .claimRefused(code, holder: current.register.version.agent, expiresAt: current.register.expiresAt)
    }

    /// What subscribers see of a claim that brings no value of its own.
    private static func value(holder: Agent, fence: Fence) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeString("{\"holder\":")
        buffer.writeJSONString(holder.bytes)
        buffer.writeString(",\"fence\":\(fence)}")
        return Array(buffer.readableBytesView)
    }
}
