package import NIOCore
package import Registers

/// What became of a write.
package enum WriteOutcome: Equatable, Sendable {
    /// It took effect, now or when it was first sent. `expiresAt`: when the register expires, in milliseconds since 1970;
    /// `isJudged`: whether a condition, or a fence, was looked at and met.
    case applied(version: Version, revision: UInt64, expiresAt: UInt64? = nil, isJudged: Bool = false)
    /// A greater register was, and stays, in place.
    case superseded(version: Version, winner: StoredRegister)
    /// What it expected was not in place.
    case conditionFailed(current: StoredRegister?)
    /// A register was touched; `expiresAt`: when it expires now, nil: not by itself.
    case touched(version: Version, revision: UInt64, expiresAt: UInt64?)
    /// There is nothing to be touched.
    case absent
    /// It was fanned out and not stored.
    case transient(version: Version)
    case refused(WireError)
    /// A claim was granted or renewed.
    case claimed(Grant)
    /// A claim was given up, now or earlier.
    case released(version: Version, revision: UInt64)
    /// A claim, a renewal or a release that does not get what it wants. `holder` and `expiresAt` are those of the claim
    /// that is in force, if any is.
    case claimRefused(ErrorCode, holder: Agent?, expiresAt: UInt64?)
    /// A batch took effect, now or when it was first sent.
    case batched(BatchReceipt)
    /// Nothing of a batch took effect.
    case batchRefused([BatchFailure])

    /// What a claim gives.
    package struct Grant: Equatable, Sendable {
        /// The fencing token, which only rises for a key.
        package var fence: UInt64
        /// When the lease ends unless it is renewed, in milliseconds since 1970 by the server's clock.
        package var expiresAt: UInt64
        package var version: Version
        package var revision: UInt64

        package init(fence: UInt64, expiresAt: UInt64, version: Version, revision: UInt64) {
            self.fence = fence
            self.expiresAt = expiresAt
            self.version = version
            self.revision = revision
        }
    }
}

/// What binds a register to somebody, beside its value. Bookkeeping of one database, like the revision.
package enum Lease: Int64, Sendable {
    /// A claim that ends when its time is over.
    case claim = 1
    /// A claim that also ends with its connection.
    case claimUntilDisconnect = 2
    /// A plain register that ends with its connection; anyone may write over it.
    case presence = 3

    /// Whether nobody but the holder may change the register.
    package var isExclusive: Bool { self != .presence }
    package var endsWithConnection: Bool { self != .claim }
}

/// A register with the revision of its last change.
package struct StoredRegister: Equatable, Sendable {
    package var register: Register
    package var revision: UInt64
    /// The op of the write that made it, by which a resend is known. Bookkeeping of one database: it is not part of the
    /// register's identity, and does not travel.
    package var op: [UInt8]?
    /// The greatest fencing token ever given for the key; 0: none. It outlives its lease.
    package var fence: UInt64
    package var lease: Lease?

    package init(
        _ register: Register, revision: UInt64, op: [UInt8]? = nil, fence: UInt64 = 0, lease: Lease? = nil
    ) {
        self.register = register
        self.revision = revision
        self.op = op
        self.fence = fence
        self.lease = lease
    }

    /// The same with an empty value, which no JSON is: for what is told of a register without its value.
    package var withoutValue: StoredRegister {
        var copy = self
        if copy.register.value != nil { copy.register.value = [] }
        return copy
    }

    /// Whether a claim on the key is in force at `wallMilliseconds`.
    package func isHeld(at wallMilliseconds: UInt64) -> Bool {
        lease?.isExclusive == true && register.isVisible(at: wallMilliseconds)
    }
}

extension ServerMessage {
    /// `{"type":"ack",…}`: what became of a write that carried an id; or an `error`, which needs none.
    ///
    /// - Parameter shows: how much is told of the register that is in place, and of who holds it.
    package static func writeOutcome(
        _ outcome: WriteOutcome, id: RequestID?, key: Key, shows: Disclosure = .everything, to buffer: inout ByteBuffer
    ) {
        if case .refused(var error) = outcome {
            error.id = id
            if shows == .nothing, let redacted = error.redacted { error.message = redacted }
            return writeError(error, to: &buffer)
        }
        if writeClaimOutcome(outcome, id: id, key: key, shows: shows, to: &buffer) { return }
        buffer.writeStaticString("{\"type\":\"ack\"")
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        buffer.writeStaticString(",\"key\":")
        buffer.writeJSONString(key.bytes)
        switch outcome {
        case .applied(let version, let revision, let expiresAt, let isJudged):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"revision\":")
            buffer.writeDecimal(revision)
            buffer.writeStaticString(",\"applied\":true,\"durable\":true")
            // Unknown fields are ignored, so a mistyped "ttl" or "expect" is: what took effect is said.
            if let expiresAt {
                buffer.writeStaticString(",\"expires_at\":")
                buffer.writeDecimal(expiresAt)
            }
            if isJudged { buffer.writeStaticString(",\"judged\":true") }
        case .superseded(let version, let winner):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"reason\":\"superseded\"")
            writeInPlace(",\"winner\":", winner, shows, to: &buffer)
        case .conditionFailed(let current):
            buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"reason\":\"condition\"")
            writeInPlace(",\"current\":", current, shows, to: &buffer)
        case .touched(let version, let revision, let expiresAt):
            writeTouched(version, revision, expiresAt, shows, to: &buffer)
        case .absent: buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"reason\":\"absent\"")
        case .transient(let version):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"applied\":true,\"durable\":false")
        case .refused, .claimed, .released, .claimRefused, .batched, .batchRefused:
            break
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// What a touch came to is told of what is in place, and not of a write of the sender's own.
    private static func writeTouched(
        _ version: Version, _ revision: UInt64, _ expiresAt: UInt64?, _ shows: Disclosure, to buffer: inout ByteBuffer
    ) {
        guard shows != .nothing else {
            buffer.writeStaticString(",\"applied\":true,\"durable\":true")
            return
        }
        writeVersion(version, to: &buffer)
        buffer.writeStaticString(",\"revision\":")
        buffer.writeDecimal(revision)
        buffer.writeStaticString(",\"applied\":true,\"durable\":true")
        guard let expiresAt else { return }
        buffer.writeStaticString(",\"expires_at\":")
        buffer.writeDecimal(expiresAt)
    }

    /// How much the sender of a write is told of what is in place.
    package enum Disclosure: Sendable {
        case everything
        /// The register with `"value_omitted":true` in the place of its value.
        case withoutValue
        /// Nothing: it may not read the key.
        case nothing
    }

    static func writeInPlace(
        _ name: StaticString, _ stored: StoredRegister?, _ shows: Disclosure, to buffer: inout ByteBuffer
    ) {
        guard shows != .nothing else { return }
        buffer.writeStaticString(name)
        if let stored {
            writeRegister(
                stored.register, revision: stored.revision,
                showsValue: shows == .everything && stored.register.value?.isEmpty != true, to: &buffer)
        } else {
            buffer.writeStaticString("null")
        }
    }

    /// `{"type":"claimed",…}`, `{"type":"released",…}` or `{"type":"refused",…}`.
    ///
    /// - Returns: false when the outcome is not that of a claim.
    private static func writeClaimOutcome(
        _ outcome: WriteOutcome, id: RequestID?, key: Key, shows: Disclosure, to buffer: inout ByteBuffer
    ) -> Bool {
        func begin(_ type: StaticString) {
            buffer.writeStaticString("{\"type\":")
            buffer.writeStaticString(type)
            if let id {
                buffer.writeStaticString(",\"id\":")
                buffer.writeBytes(id.json)
            }
            buffer.writeStaticString(",\"key\":")
            buffer.writeJSONString(key.bytes)
        }
        switch outcome {
        case .claimed(let grant):
            begin("\"claimed\"")
            buffer.writeString(",\"fence\":\(grant.fence),\"expires_at\":\(grant.expiresAt)")
            writeVersion(grant.version, to: &buffer)
            buffer.writeString(",\"revision\":\(grant.revision)}")
        case .released(let version, let revision):
            begin("\"released\"")
            // Where somebody has claimed or written it since, these are theirs.
            if shows != .nothing {
                writeVersion(version, to: &buffer)
                buffer.writeString(",\"revision\":\(revision)")
            }
            buffer.writeInteger(UInt8(ascii: "}"))
        case .claimRefused(let code, let holder, let expiresAt):
            begin("\"refused\"")
            buffer.writeStaticString(",\"code\":")
            buffer.writeJSONString(code.rawValue)
            buffer.writeStaticString(",\"holder\":")
            if let holder, shows != .nothing {
                buffer.writeJSONString(holder.bytes)
            } else {
                buffer.writeStaticString("null")
            }
            let end = shows == .nothing ? nil : expiresAt
            buffer.writeString(",\"expires_at\":\(end.map(String.init) ?? "null")}")
        default: return false
        }
        return true
    }

    private static func writeVersion(_ version: Version, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(",\"version\":")
        buffer.writeJSONString(version.bytes)
    }
}
