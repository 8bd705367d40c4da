package import NIOCore
package import Registers

extension ServerMessage {
    /// What became of a request about several keys that carried an id: `{"type":"batched",…}`, or, within the process,
    /// `{"type":"replicated",…}`; or an `error`, which needs none.
    ///
    /// - Parameter shows: how much is told of what is in place of a key.
    package static func writeOutcomeOfSeveral(
        _ outcome: WriteOutcome, id: RequestID?, shows: (Key) -> Disclosure,
        to buffer: inout ByteBuffer
    ) {
        if case .refused(var error) = outcome {
            error.id = id
            return writeError(error, to: &buffer)
        }
        if case .called(let answer) = outcome { return writeCallAnswer(answer, id: id, to: &buffer) }
        if case .replicated = outcome {
            buffer.writeStaticString("{\"type\":\"replicated\"")
        } else {
            buffer.writeStaticString("{\"type\":\"batched\"")
        }
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        switch outcome {
        case .batched(let receipt): writeReceipt(receipt, to: &buffer)
        case .batchRefused(let failures):
            buffer.writeStaticString(",\"applied\":false,\"durable\":false,\"failed\":[")
            for (index, failure) in failures.enumerated() {
                if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
                writeFailure(failure, shows(failure.key), to: &buffer)
            }
            buffer.writeInteger(UInt8(ascii: "]"))
        case .replicated(let receipt): writeReceipt(receipt, to: &buffer)
        default: preconditionFailure("\(outcome) is about one key")
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    private static func writeReceipt(_ receipt: ReplicationReceipt, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(",\"durable\":true,\"applied\":")
        buffer.writeDecimal(UInt64(receipt.applied))
        buffer.writeStaticString(",\"same\":")
        buffer.writeDecimal(UInt64(receipt.same))
        buffer.writeStaticString(",\"superseded\":")
        buffer.writeDecimal(UInt64(receipt.superseded))
        buffer.writeStaticString(",\"refused\":[")
        for (index, refusal) in receipt.refused.enumerated() {
            buffer.writeStaticString(index > 0 ? ",{\"key\":" : "{\"key\":")
            buffer.writeJSONString(refusal.key.bytes)
            buffer.writeStaticString(",\"code\":")
            buffer.writeJSONString(refusal.error.code.rawValue)
            buffer.writeStaticString(",\"message\":")
            buffer.writeJSONString(refusal.error.message)
            buffer.writeStaticString("}")
        }
        buffer.writeStaticString("]")
    }

    private static func writeReceipt(_ receipt: BatchReceipt, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(",\"applied\":true,\"durable\":true,\"first\":")
        buffer.writeDecimal(receipt.firstRevision)
        buffer.writeStaticString(",\"last\":")
        buffer.writeDecimal(receipt.lastRevision)
        buffer.writeStaticString(",\"versions\":[")
        for (index, version) in receipt.versions.enumerated() {
            if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
            buffer.writeJSONString(version.bytes)
        }
        buffer.writeInteger(UInt8(ascii: "]"))
        // Unknown fields are ignored, so a mistyped "expect" is: how much was looked at is said.
        if receipt.judged > 0 { buffer.writeString(",\"judged\":\(receipt.judged)") }
    }

    private static func writeFailure(_ failure: BatchFailure, _ shows: Disclosure, to buffer: inout ByteBuffer) {
        switch failure.place {
        case .write(let index): buffer.writeString("{\"write\":\(index)")
        case .requirement(let index): buffer.writeString("{\"require\":\(index)")
        }
        buffer.writeStaticString(",\"key\":")
        buffer.writeJSONString(failure.key.bytes)
        buffer.writeString(",\"reason\":\"\(failure.reason.rawValue)\"")
        writeInPlace(",\"current\":", failure.current, shows, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }
}
