package import NIOCore
package import Registers

/// What became of a write.
package enum WriteOutcome: Equatable, Sendable {
    /// It took effect, now or when it was first sent.
    case applied(version: Version, revision: UInt64)
    /// A greater register was, and stays, in place.
    case superseded(version: Version, winner: StoredRegister)
    /// What it expected was not in place.
    case conditionFailed(current: StoredRegister?)
    /// It was fanned out and not stored.
    case transient(version: Version)
    case refused(WireError)
}

/// A register with the revision of its last change.
package struct StoredRegister: Equatable, Sendable {
    package var register: Register
    package var revision: UInt64
    /// The op of the write that made it, by which a resend is known. Bookkeeping of one database: it is not part of the
    /// register's identity, and does not travel.
    package var op: [UInt8]?

    package init(_ register: Register, revision: UInt64, op: [UInt8]? = nil) {
        self.register = register
        self.revision = revision
        self.op = op
    }
}

extension ServerMessage {
    /// `{"type":"ack",…}`: what became of a write that carried an id; or an `error`, which needs none.
    ///
    /// - Parameter showsValue: whether the register that is in place is shown with its value, or with
    ///   `"value_omitted":true` in the place of it.
    package static func writeOutcome(
        _ outcome: WriteOutcome, id: RequestID?, key: Key, showsValue: Bool = true, to buffer: inout ByteBuffer
    ) {
        if case .refused(var error) = outcome {
            error.id = id
            return writeError(error, to: &buffer)
        }
        buffer.writeStaticString("{\"type\":\"ack\"")
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        buffer.writeStaticString(",\"key\":")
        buffer.writeJSONString(key.bytes)
        switch outcome {
        case .applied(let version, let revision):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"revision\":")
            buffer.writeDecimal(revision)
            buffer.writeStaticString(",\"applied\":true,\"durable\":true")
        case .superseded(let version, let winner):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"reason\":\"superseded\",\"winner\":")
            writeRegister(winner.register, revision: winner.revision, showsValue: showsValue, to: &buffer)
        case .conditionFailed(let current):
            buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"reason\":\"condition\",\"current\":")
            if let current {
                writeRegister(current.register, revision: current.revision, showsValue: showsValue, to: &buffer)
            } else {
                buffer.writeStaticString("null")
            }
        case .transient(let version):
            writeVersion(version, to: &buffer)
            buffer.writeStaticString(",\"applied\":true,\"durable\":false")
        case .refused:
            break
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    private static func writeVersion(_ version: Version, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(",\"version\":")
        buffer.writeJSONString(version.bytes)
    }
}
