package import NIOCore
package import Registers

/// Writes the messages of the server, as JSON without white space, to the end of a buffer.
package enum ServerMessage {
    /// `{"type":"update",…}`: the same bytes for every subscriber.
    ///
    /// - Parameter revision: nil for a transient broadcast, which has none.
    package static func writeUpdate(_ register: Register, revision: Revision?, to buffer: inout ByteBuffer) {
        buffer.writeWithOutputRawSpan(minimumWritableBytes: greatestLength(of: register)) { text in
            text.append("{\"type\":\"update\",\"key\":")
            register.record.withKey { text.append(quoting: $0) }
            appendFields(register, revision: revision, to: &text)
            if revision == nil { text.append(",\"transient\":true") }
            text.append(UInt8(ascii: "}"))
        }
    }

    /// Writes a register as an object of its own.
    package static func writeRegister(
        _ register: Register, revision: Revision, showsValue: Bool = true, to buffer: inout ByteBuffer
    ) {
        buffer.writeWithOutputRawSpan(minimumWritableBytes: greatestLength(of: register)) { text in
            text.append("{\"key\":")
            register.record.withKey { text.append(quoting: $0) }
            appendFields(register, revision: revision, showsValue: showsValue, to: &text)
            text.append(UInt8(ascii: "}"))
        }
    }

    /// How many bytes a register takes at most, with the names of its fields and what else is in a message with one.
    private static func greatestLength(of register: Register) -> Int {
        let record = register.record
        let agent = register.version.agent.bytes
        // Names, numbers, and the digits of the version.
        var length =
            400 + record.withKey { JSONText.greatestLength(of: $0) } + 2 * JSONText.greatestLength(of: agent.span)
        length += (record.count(of: .value) ?? 0) + (record.count(of: .metadata) ?? 0)
        length += record.with(.session) { JSONText.greatestLength(of: $0) } ?? 0
        return length
    }

    private static func appendFields(
        _ register: Register, revision: Revision?, showsValue: Bool = true, to text: inout OutputRawSpan
    ) {
        let record = register.record
        switch (record.has(.value), showsValue) {
        case (true, true):
            text.append(",\"value\":")
            text.append(.value, of: record)
        case (true, false): text.append(",\"value_omitted\":true")
        case (false, _): text.append(",\"value\":null,\"deleted\":true")
        }
        text.append(",\"version\":")
        text.append(register.version)
        text.append(",\"timestamp\":")
        text.append(decimal: register.version.stamp.milliseconds)
        text.append(",\"agent\":")
        text.append(quoting: register.version.agent.bytes.span)
        if let revision {
            text.append(",\"revision\":")
            text.append(decimal: revision.rawValue)
        }
        if let expiresAt = register.expiresAt {
            text.append(",\"expires_at\":")
            text.append(decimal: expiresAt.milliseconds)
        }
        if record.has(.metadata) {
            text.append(",\"metadata\":")
            text.append(.metadata, of: record)
        }
        if record.has(.session) {
            text.append(",\"session\":")
            _ = record.with(.session) { text.append(quoting: $0) }
        }
        switch register.cause {
        case .expired: text.append(",\"cause\":\"expired\"")
        case .disconnected: text.append(",\"cause\":\"disconnected\"")
        case nil: break
        }
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
            buffer.writeWithOutputRawSpan(minimumWritableBytes: greatestLength(of: found.register)) {
                appendFields(found.register, revision: found.revision, to: &$0)
            }
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
