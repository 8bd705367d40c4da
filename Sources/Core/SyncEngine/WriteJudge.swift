package import Registers
package import SyncProtocol

/// Decides what becomes of each write: the rules of stamping, conditions, drift, horizons and merge, over the current
/// register of its key. It owns the clock; everything else is a parameter.
package struct WriteJudge: Sendable {
    package enum Verdict: Equatable, Sendable {
        /// The register takes its place.
        case apply(Register)
        /// The register is fanned out, and not stored.
        case fanOut(Register)
        /// Nothing changes.
        case answer(WriteOutcome)
    }

    package private(set) var clock: HybridLogicalClock
    /// How far ahead of the wall clock a client's stamp may be, in milliseconds.
    package let maximumDrift: UInt64
    /// A stamp up to this one cannot be told from one that a collected tombstone beat.
    package let collectedStamp: Stamp

    package init(clock: HybridLogicalClock, maximumDrift: UInt64, collectedStamp: Stamp) {
        self.clock = clock
        self.maximumDrift = maximumDrift
        self.collectedStamp = collectedStamp
    }

    /// Judges one write.
    ///
    /// - Parameters:
    ///   - current: the register of the write's key, tombstones too, with the effects of all earlier writes.
    ///   - now: the wall clock, in milliseconds.
    package mutating func judge(_ request: WriteRequest, current: StoredRegister?, now: UInt64) -> Verdict {
        let write = request.write
        if write.isTransient { return fanOut(request, now: now) }
        if let op = write.op, let current, current.op == op {
            // The same write again, and nothing has come in between: answered as the first time.
            return .answer(.applied(version: current.register.version, revision: current.revision))
        }
        if let refusal = checkCondition(write, current: current, now: now) { return .answer(refusal) }

        let version: Version
        switch stamp(request, current: current, now: now) {
        case .success(let stamped): version = stamped
        case .failure(let error): return .answer(.refused(error))
        }
        let candidate = Self.register(of: write, version: version, now: now)
        switch Register.merge(candidate, into: current?.register) {
        case .applied:
            clock.receive(version.stamp)
            return .apply(candidate)
        case .duplicate:
            return .answer(.applied(version: version, revision: current?.revision ?? 0))
        case .superseded:
            guard let current else { preconditionFailure("an absent register supersedes nothing") }
            return .answer(.superseded(version: version, winner: current))
        }
    }

    private mutating func fanOut(_ request: WriteRequest, now: UInt64) -> Verdict {
        switch stamp(request, current: nil, now: now, isStored: false) {
        case .success(let version): .fanOut(Self.register(of: request.write, version: version, now: now))
        case .failure(let error): .answer(.refused(error))
        }
    }

    private func checkCondition(
        _ write: ClientMessage.Write, current: StoredRegister?, now: UInt64
    ) -> WriteOutcome? {
        let visible = current.flatMap { $0.register.isVisible(at: now) ? $0 : nil }
        switch write.condition {
        case .none: return nil
        case .absent: return visible == nil ? nil : .conditionFailed(current: visible)
        case .version(let version):
            return visible?.register.version == version ? nil : .conditionFailed(current: visible)
        }
    }

    /// Gives the write its version, or says why it cannot have the one it brought.
    private mutating func stamp(
        _ request: WriteRequest, current: StoredRegister?, now: UInt64, isStored: Bool = true
    ) -> Result<Version, WireError> {
        let version: Version
        switch (request.write.stamping, request.stamp) {
        case (.version(let given), _): version = given
        case (.timestamp, let stamp?) where request.write.condition == .none:
            version = Version(stamp: stamp, agent: request.agent)
        default:
            // The clock has received every stamp in the database, so this one is above the current register's.
            return .success(Version(stamp: clock.tick(wallMilliseconds: now), agent: request.agent))
        }
        let milliseconds = version.stamp.milliseconds
        if milliseconds > now + maximumDrift {
            return .failure(
                WireError(
                    .drift,
                    "stamp \(milliseconds) is \(milliseconds - now) ms ahead of the server's clock \(now); "
                        + "the limit is \(maximumDrift) ms",
                    hint: "set the clock of the client, or leave the timestamp out: the server stamps then",
                    clocks: .init(timestamp: milliseconds, serverTime: now)))
        }
        if isStored, current == nil, version.stamp <= collectedStamp {
            return .failure(
                WireError(
                    .staleVersion,
                    "stamp \(milliseconds) is older than the oldest delete that this server remembers "
                        + "(\(collectedStamp.milliseconds)), so it cannot tell whether the key was deleted later",
                    hint: "read the key again, and write without a timestamp"))
        }
        return .success(version)
    }

    private static func register(of write: ClientMessage.Write, version: Version, now: UInt64) -> Register {
        // The time to live starts with the client's stamp, or, where the server stamps, with its wall clock.
        let isServerStamped = write.stamping == .server || write.condition != .none
        let start = isServerStamped ? now : version.stamp.milliseconds
        return Register(
            key: write.key, version: version, value: write.value, expiresAt: write.timeToLive.map { start + $0 },
            metadata: write.metadata, session: write.session)
    }
}
