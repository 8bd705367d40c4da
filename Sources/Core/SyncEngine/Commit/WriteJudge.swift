package import Registers
package import SyncProtocol

/// Decides what becomes of each request: the rules of stamping, conditions, drift, horizons, claims and merge, over the
/// current register of its key. It owns the clock; everything else is a parameter.
package struct WriteJudge: Sendable {
    package enum Verdict: Equatable, Sendable {
        /// The register takes its place.
        case apply(Change)
        /// The register is fanned out, and not stored.
        case fanOut(Register)
        /// Nothing changes.
        case answer(WriteOutcome)
    }

    /// A register that takes its place, with what is kept beside it. Its revision is the committer's to give.
    package struct Change: Equatable, Sendable {
        package enum Kind: Sendable {
            case write
            case touch
            case claim
            case release
        }

        package var register: Register
        package var kind: Kind
        package var fence: Fence
        package var binding: Binding?
        /// Whether a condition, or a fence, was looked at and met.
        package var isJudged = false
    }

    package internal(set) var clock: HybridLogicalClock
    /// How far ahead of the wall clock a client's stamp may be, in milliseconds.
    package let maximumDrift: UInt64
    /// A stamp up to this one cannot be told from one that a collected tombstone beat.
    package internal(set) var collectedStamp: Stamp
    /// No fencing token above this one was collected together with a tombstone.
    package internal(set) var collectedFence: Fence

    /// How long what ends with a connection outlives it where nobody is left to end it, in milliseconds.
    package static let connectionLease: UInt64 = 60_000

    package init(
        clock: HybridLogicalClock, maximumDrift: UInt64, collectedStamp: Stamp, collectedFence: Fence = 0
    ) {
        self.clock = clock
        self.maximumDrift = maximumDrift
        self.collectedStamp = collectedStamp
        self.collectedFence = collectedFence
    }

    /// Judges one request.
    ///
    /// - Parameters:
    ///   - current: the register of the request's key, tombstones too, with the effects of all earlier requests.
    ///   - fenced: the register of the key that the write's fence names, likewise.
    ///   - now: the wall clock, in milliseconds.
    package mutating func judge(
        _ request: WriteRequest, current: StoredRegister?, fenced: StoredRegister? = nil, now: WallTime
    ) -> Verdict {
        switch request.action {
        case .write(let write) where write.isTransient: fanOut(write, request, now: now)
        case .write(let write): judge(write, request, current: current, fenced: fenced, now: now)
        case .touch(let touch): judge(touch, current: current, now: now)
        case .batch, .replicate, .call, .withdraw, .giveBack:
            preconditionFailure("what is about several keys is judged over the registers of all of them")
        case .lease(let lease): judge(lease, of: request.agent, current: current, now: now)
        case .keep(let key): keep(key, current: current, now: now)
        case .end(let key): end(key, current: current)
        }
    }

    mutating func judge(
        _ write: ClientMessage.Write, _ request: WriteRequest, current: StoredRegister?, fenced: StoredRegister?,
        now: WallTime
    ) -> Verdict {
        if let outcome = Self.repeated(write, current) { return .answer(outcome) }
        if let refusal = checkFence(write, fenced, now: now) ?? checkHolder(current, now: now) {
            return .answer(.refused(refusal))
        }
        if let refusal = checkCondition(write, current: current, now: now) { return .answer(refusal) }

        let version: Version
        switch stamp(write, request, current: current, now: now) {
        case .success(let stamped): version = stamped
        case .failure(let error): return .answer(.refused(error))
        }
        let candidate = Self.register(of: write, version: version, replacing: current, now: now)
        switch Register.merge(candidate, into: current?.register) {
        case .applied:
            clock.receive(version.stamp)
            var change = Change(register: candidate, kind: .write, fence: current?.fence ?? 0)
            change.isJudged = write.isConditional
            if write.endsWithConnection {
                change.binding = .presence
                change.fence = nextFence(version.stamp, after: current)
            }
            return .apply(change)
        case .duplicate:
            return .answer(
                .applied(
                    version: version, revision: current?.revision ?? 0, expiresAt: candidate.expiresAt,
                    isJudged: write.isConditional))
        case .superseded:
            guard let current else { preconditionFailure("an absent register supersedes nothing") }
            if Self.isTouched(candidate, current.register) {
                // The same write again, which has been given a longer life since.
                return .answer(
                    .applied(
                        version: version, revision: current.revision, expiresAt: current.register.expiresAt,
                        isJudged: write.isConditional))
            }
            return .answer(.superseded(version: version, winner: current))
        }
    }

    /// What a write is answered that is the same again, with nothing in between: as the first time. nil: it is none.
    private static func repeated(_ write: ClientMessage.Write, _ current: StoredRegister?) -> WriteOutcome? {
        guard write.record.has(.op), let current, current.register.record.hasSame(.op, as: write.record),
            current.binding?.isExclusive != true
        else { return nil }
        // What has expired says nothing of what it was.
        let isOther = current.register.cause == nil && !current.register.record.hasSame(.value, as: write.record)
        if isOther { return .refused(otherWrite) }
        return .applied(
            version: current.register.version, revision: current.revision, expiresAt: current.register.expiresAt,
            isJudged: write.isConditional)
    }

    /// An op that names two writes would have the second one answered as if it were made.
    private static let otherWrite = WireError(
        .badMessage, "this op is that of another write, which was applied; nothing of this one was",
        hint: "make up an op for each write, and send it again only with the same text")

    /// Whether a register is another one with a later expiry.
    private static func isTouched(_ register: Register, _ current: Register) -> Bool {
        guard register.version == current.version, let expiry = register.expiresAt, expiry < current.expiresAt ?? 0
        else {
            return false
        }
        var touched = register
        touched.expiresAt = current.expiresAt
        return Register.compare(touched, current) == 0
    }

    /// A register lives on under its version: merging orders equal versions by their expiry, so that every replica comes to the later one.
    private func judge(_ touch: ClientMessage.Touch, current: StoredRegister?, now: WallTime) -> Verdict {
        if let refusal = checkHolder(current, now: now) { return .answer(.refused(refusal)) }
        guard let current, current.register.isVisible(at: now) else { return .answer(.absent) }
        guard let expiresAt = current.register.expiresAt, now + touch.timeToLive > expiresAt else {
            // To live longer is all that it can do: what has no end has none later.
            return .answer(
                .touched(
                    version: current.register.version, revision: current.revision, expiresAt: current.register.expiresAt
                ))
        }
        var register = current.register
        register.expiresAt = now + touch.timeToLive
        return .apply(
            Change(register: register, kind: .touch, fence: current.fence, binding: current.binding))
    }

    /// Judges a register from another database, which keeps its version.
    package mutating func merge(_ register: Register, current: StoredRegister?, now: WallTime) -> Verdict {
        if let refusal = checkHolder(current, now: now) { return .answer(.refused(refusal)) }
        if current == nil, register.version.stamp <= collectedStamp {
            return .answer(.refused(staleVersion(register.version.stamp)))
        }
        switch Register.merge(register, into: current?.register) {
        case .applied:
            clock.receive(register.version.stamp)
            return .apply(Change(register: register, kind: .write, fence: current?.fence ?? 0))
        case .duplicate:
            return .answer(.applied(version: register.version, revision: current?.revision ?? 0))
        case .superseded:
            guard let current else { preconditionFailure("an absent register supersedes nothing") }
            return .answer(.superseded(version: register.version, winner: current))
        }
    }

    private mutating func fanOut(_ write: ClientMessage.Write, _ request: WriteRequest, now: WallTime) -> Verdict {
        switch stamp(write, request, current: nil, now: now, isStored: false) {
        case .success(let version): .fanOut(Self.register(of: write, version: version, replacing: nil, now: now))
        case .failure(let error): .answer(.refused(error))
        }
    }

    // MARK: Conditions

    private func checkFence(_ write: ClientMessage.Write, _ fenced: StoredRegister?, now: WallTime) -> WireError? {
        guard let fence = write.fence else { return nil }
        if let fenced, fenced.isHeld(at: now), fenced.fence == fence.fence { return nil }
        let state = fenced?.isHeld(at: now) == true ? "another claim is in force" : "no claim is in force"
        return WireError(
            .staleFence, "fence \(fence.fence) of \(fence.key) has passed on: \(state)",
            hint: "claim the key again before going on; somebody else may have done the work")
    }

    /// A register under a claim is changed by its claim, renewals and release only.
    private func checkHolder(_ current: StoredRegister?, now: WallTime) -> WireError? {
        guard let current, current.isHeld(at: now) else { return nil }
        var error = WireError(
            .held,
            "\(current.register.key) is claimed by \(current.register.version.agent) until "
                + "\(current.register.expiresAt ?? 0); only that claim's renew and release change it",
            hint: "the holder changes the value with {\"type\":\"renew\",…,\"value\":…}")
        error.redacted = "\(current.register.key) is claimed; only the holder's renew and release change it"
        return error
    }

    func checkCondition(
        _ write: ClientMessage.Write, current: StoredRegister?, now: WallTime
    ) -> WriteOutcome? {
        let visible = current.flatMap { $0.register.isVisible(at: now) ? $0 : nil }
        switch write.condition {
        case .none: return nil
        case .absent: return visible == nil ? nil : .conditionFailed(current: visible)
        case .version(let version):
            return visible?.register.version == version ? nil : .conditionFailed(current: visible)
        }
    }

    // MARK: Stamps

    /// Gives the write its version, or says why it cannot have the one it brought.
    private mutating func stamp(
        _ write: ClientMessage.Write, _ request: WriteRequest, current: StoredRegister?, now: WallTime,
        isStored: Bool = true
    ) -> Result<Version, WireError> {
        let version: Version
        switch (write.stamping, request.stamp) {
        case (.version(let given), _): version = given
        case (.timestamp, let stamp?) where write.condition == .none:
            version = Version(stamp: stamp, agent: request.agent)
        default:
            // The clock has received every stamp in the database, so this one is above the current register's.
            return .success(Version(stamp: clock.tick(at: now), agent: request.agent))
        }
        let stamped = WallTime(milliseconds: version.stamp.milliseconds)
        if stamped > now + maximumDrift {
            return .failure(
                WireError(
                    .drift,
                    "stamp \(stamped) is \(stamped - now) ms ahead of the server's clock \(now); "
                        + "the limit is \(maximumDrift) ms",
                    hint: "set the clock of the client, or leave the timestamp out: the server stamps then",
                    clocks: .init(timestamp: stamped.milliseconds, serverTime: now.milliseconds)))
        }
        if isStored, current == nil, version.stamp <= collectedStamp {
            return .failure(staleVersion(version.stamp))
        }
        return .success(version)
    }

    private func staleVersion(_ stamp: Stamp) -> WireError {
        WireError(
            .staleVersion,
            "stamp \(stamp.milliseconds) is not above the latest delete that this server has forgotten "
                + "(\(collectedStamp.milliseconds)), so it cannot tell whether the key was deleted later",
            hint: "read the key again, and write without a timestamp")
    }

    static func register(
        of write: ClientMessage.Write, version: Version, replacing current: StoredRegister?, now: WallTime
    ) -> Register {
        // The time to live starts with the client's stamp, or, where the server stamps, with its wall clock.
        let isServerStamped = write.stamping == .server || write.condition != .none
        let start = isServerStamped ? now : WallTime(milliseconds: version.stamp.milliseconds)
        var expiresAt = write.timeToLive.map { start + $0 }
        if write.endsWithConnection, expiresAt == nil { expiresAt = now + connectionLease }
        guard CreationTime.isAsked(by: write.record) else {
            return Register(write.record, version: version, expiresAt: expiresAt)
        }
        let replaced = current.flatMap { $0.register.isVisible(at: now) ? $0.register.record : nil }
        let record = CreationTime.filled(write.record, replacing: replaced, at: start)
        return Register(record, version: version, expiresAt: expiresAt)
    }
}
