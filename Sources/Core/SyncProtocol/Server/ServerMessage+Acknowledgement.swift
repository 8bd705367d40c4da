package import NIOCore
package import Registers

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
        if case .applied(let version, let revision, let expiresAt, let isJudged) = outcome {
            return writeApplied(version, revision, expiresAt, isJudged: isJudged, id: id, key: key, to: &buffer)
        }
        if writeClaimOutcome(outcome, id: id, key: key, shows: shows, to: &buffer) { return }
        buffer.writeStaticString("{\"type\":\"ack\"")
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        buffer.writeStaticString(",\"key\":")
        buffer.writeKey(key.record)
        switch outcome {
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
        case .applied, .refused, .claimed, .released, .claimRefused, .batched, .batchRefused, .replicated, .called,
            .waiting, .done:
            break
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    private static func writeApplied(
        _ version: Version, _ revision: Revision, _ expiresAt: WallTime?, isJudged: Bool, id: RequestID?, key: Key,
        to buffer: inout ByteBuffer
    ) {
        let agent = version.agent.bytes
        let length =
            300 + (id?.json.count ?? 0) + key.withBytes { JSONText.greatestLength(of: $0) }
            + JSONText.greatestLength(of: agent.span)
        buffer.writeWithOutputRawSpan(minimumWritableBytes: length) { text in
            text.append("{\"type\":\"ack\"")
            if let id {
                text.append(",\"id\":")
                text.append(id.json.span)
            }
            text.append(",\"key\":")
            key.withBytes { text.append(quoting: $0) }
            text.append(",\"version\":")
            text.append(version)
            text.append(",\"revision\":")
            text.append(decimal: revision.rawValue)
            text.append(",\"applied\":true,\"durable\":true")
            // Unknown fields are ignored, so a mistyped "ttl" or "expect" is: what took effect is said.
            if let expiresAt {
                text.append(",\"expires_at\":")
                text.append(decimal: expiresAt.milliseconds)
            }
            if isJudged { text.append(",\"judged\":true") }
            text.append(UInt8(ascii: "}"))
        }
    }

    /// What a touch came to is told of what is in place, and not of a write of the sender's own.
    private static func writeTouched(
        _ version: Version, _ revision: Revision, _ expiresAt: WallTime?, _ shows: Disclosure,
        to buffer: inout ByteBuffer
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
                showsValue: stored.register.record.count(of: .value) != 0, to: &buffer)
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
            buffer.writeKey(key.record)
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
