package import NIOCore
package import Registers

/// Writes the messages of the server, as JSON without white space, to the end of a buffer.
package enum ServerMessage {
    /// `{"type":"update",…}`: the same bytes for every subscriber.
    ///
    /// - Parameter revision: nil for a transient broadcast, which has none.
    package static func writeUpdate(_ register: Register, revision: Revision?, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"update\",\"key\":")
        buffer.writeKey(register.record)
        writeFields(register, revision: revision, to: &buffer)
        if revision == nil { buffer.writeStaticString(",\"transient\":true") }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// Writes a register as an object of its own.
    package static func writeRegister(
        _ register: Register, revision: Revision, showsValue: Bool = true, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"key\":")
        buffer.writeKey(register.record)
        writeFields(register, revision: revision, showsValue: showsValue, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    private static func writeFields(
        _ register: Register, revision: Revision?, showsValue: Bool = true, to buffer: inout ByteBuffer
    ) {
        switch (register.record.has(.value), showsValue) {
        case (true, true):
            buffer.writeStaticString(",\"value\":")
            buffer.write(.value, of: register.record)
        case (true, false): buffer.writeStaticString(",\"value_omitted\":true")
        case (false, _): buffer.writeStaticString(",\"value\":null,\"deleted\":true")
        }
        buffer.writeStaticString(",\"version\":")
        writeVersion(register.version, to: &buffer)
        buffer.writeStaticString(",\"timestamp\":")
        buffer.writeDecimal(register.version.stamp.milliseconds)
        buffer.writeStaticString(",\"agent\":")
        buffer.writeJSONString(register.version.agent.bytes)
        if let revision {
            buffer.writeStaticString(",\"revision\":")
            buffer.writeDecimal(revision)
        }
        if let expiresAt = register.expiresAt {
            buffer.writeStaticString(",\"expires_at\":")
            buffer.writeDecimal(expiresAt)
        }
        if register.record.has(.metadata) {
            buffer.writeStaticString(",\"metadata\":")
            buffer.write(.metadata, of: register.record)
        }
        if register.record.has(.session) {
            buffer.writeStaticString(",\"session\":")
            _ = register.record.with(.session) { buffer.writeJSONString($0) }
        }
        if let cause = register.cause {
            buffer.writeStaticString(",\"cause\":")
            buffer.writeJSONString(cause.rawValue)
        }
    }

    private static func writeVersion(_ version: Version, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(ascii: "\""))
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Version.prefixLength) { version.writePrefix(to: $0) }
        buffer.writeJSONText(version.agent.bytes.span)
        buffer.writeInteger(UInt8(ascii: "\""))
    }

    private static func writeID(_ id: RequestID?, to buffer: inout ByteBuffer) {
        guard let id else { return }
        buffer.writeStaticString(",\"id\":")
        buffer.writeBytes(id.json)
    }

    private static func writeCursor(_ name: StaticString, _ cursor: Cursor, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(name)
        buffer.writeJSONString(cursor.bytes)
    }

    /// `{"type":"subscribed",…}`; `replace` tells the client that its cursor could not be used, and that the snapshot
    /// to come takes the place of what it holds.
    package static func writeSubscribed(
        id: RequestID, pattern: Pattern, cursor: Cursor, replace: Bool, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"type\":\"subscribed\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"pattern\":")
        buffer.writeJSONString(pattern.text)
        writeCursor(",\"cursor\":", cursor, to: &buffer)
        if replace { buffer.writeStaticString(",\"replace\":true") }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"synced",…}`: the subscription has passed the head of the time when it was made.
    package static func writeSynced(id: RequestID, cursor: Cursor, count: UInt64, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"synced\"")
        writeID(id, to: &buffer)
        writeCursor(",\"cursor\":", cursor, to: &buffer)
        buffer.writeStaticString(",\"count\":")
        buffer.writeDecimal(count)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    package static func writeCursorNotice(id: RequestID, cursor: Cursor, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"cursor\"")
        writeID(id, to: &buffer)
        writeCursor(",\"cursor\":", cursor, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"conflated",…}`: the subscription was too slow, has caught up, and did not see so many updates that later
    /// ones made needless.
    package static func writeConflated(id: RequestID, skipped: UInt64, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"conflated\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"skipped\":")
        buffer.writeDecimal(skipped)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"digest",…}`: what a range of keys holds. `last` is the last key looked at; there is no `next` when nothing
    /// is behind it.
    package static func writeDigest(
        id: RequestID?, _ digest: RegisterDigest, last: Key?, isComplete: Bool, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"type\":\"digest\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"digest\":")
        buffer.writeJSONString(digest.text)
        buffer.writeStaticString(",\"count\":")
        buffer.writeDecimal(digest.count)
        if let last {
            buffer.writeStaticString(",\"last\":")
            buffer.writeJSONString(last.bytes)
        }
        buffer.writeString(",\"complete\":\(isComplete)}")
    }

    package static func writeUnsubscribed(id: RequestID, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"unsubscribed\"")
        writeID(id, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    package static func writePong(id: RequestID?, time: WallTime, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"pong\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"time\":")
        buffer.writeDecimal(time)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"register",…}`: the answer to a get; without a register, the key is absent.
    package static func writeGot(
        id: RequestID?, key: Key, _ found: (register: Register, revision: Revision)?, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"type\":\"register\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"key\":")
        buffer.writeKey(key.record)
        if let found {
            buffer.writeStaticString(",\"found\":true")
            writeFields(found.register, revision: found.revision, to: &buffer)
        } else {
            buffer.writeStaticString(",\"found\":false,\"value\":null")
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"registers",…}`: the answer to a list; `next` is there when there may be more behind it.
    package static func writeListed(
        id: RequestID?, _ rows: [(register: Register, revision: Revision)], next: Key?, to buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("{\"type\":\"registers\"")
        writeID(id, to: &buffer)
        buffer.writeStaticString(",\"registers\":[")
        for (index, row) in rows.enumerated() {
            if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
            writeRegister(row.register, revision: row.revision, to: &buffer)
        }
        buffer.writeInteger(UInt8(ascii: "]"))
        if let next {
            buffer.writeStaticString(",\"next\":")
            buffer.writeJSONString(next.bytes)
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    package static func writeError(_ error: WireError, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"error\"")
        writeID(error.id, to: &buffer)
        buffer.writeStaticString(",\"code\":")
        buffer.writeJSONString(error.code.rawValue)
        buffer.writeStaticString(",\"message\":")
        buffer.writeJSONString(error.message)
        buffer.writeString(",\"retry\":\(error.code.mayRetry)")
        if let hint = error.hint {
            buffer.writeStaticString(",\"hint\":")
            buffer.writeJSONString(hint)
        }
        if let retryAfter = error.retryAfter { buffer.writeString(",\"retry_after_ms\":\(retryAfter)") }
        if let clocks = error.clocks {
            buffer.writeString(",\"timestamp\":\(clocks.timestamp),\"server_time\":\(clocks.serverTime)")
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// `{"type":"bye",…}`: the connection is about to be closed by the server.
    package static func writeBye(code: String, reason: String, retryAfter: UInt64?, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"type\":\"bye\",\"code\":")
        buffer.writeJSONString(code)
        buffer.writeStaticString(",\"reason\":")
        buffer.writeJSONString(reason)
        if let retryAfter { buffer.writeString(",\"retry_after_ms\":\(retryAfter)") }
        buffer.writeInteger(UInt8(ascii: "}"))
    }
}
