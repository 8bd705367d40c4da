package import NIOCore

/// Reads one side of a WebSocket connection: bytes in, events out (RFC 6455, sections 5 to 7). It does no I/O; what to
/// answer is the caller's business.
///
/// Feed it by calling ``next(from:)`` until that returns nil, each time more bytes have come. Payloads are unmasked while
/// they are copied into ``payload``, and text is validated as it arrives, so that a bad byte fails the connection
/// before the rest of the message is there.
package struct MessageReader {
    package enum Role: Sendable {
        /// Reads what clients send: masked frames.
        case server
        /// Reads what servers send: unmasked frames.
        case client
    }

    package enum Event: Equatable, Sendable {
        /// A whole text message is in ``MessageReader/payload``.
        case text
        /// A whole binary message is in ``MessageReader/payload``.
        case binary
        case ping([UInt8])
        case pong([UInt8])
        /// The peer's Close frame. Nothing that comes after it is read.
        case close(CloseCode?, reason: String)
        /// The peer broke the protocol. Nothing more is read; the connection is to be failed.
        case violation(ProtocolViolation)
    }

    private enum State: Equatable {
        case header
        case payload(FrameHeader, read: Int)
        /// After a Close or a violation.
        case ended
    }

    /// The message of the last event; valid until the next call of ``next(from:)``.
    package private(set) var payload = ByteBuffer()

    private let role: Role
    /// The greatest size of a message, all fragments together, in bytes. Of a compressed one, both before and after.
    package var maximumMessageSize: Int
    private var state = State.header
    /// The opcode of the message under way; nil between messages.
    private var message: Opcode?
    private var control: [UInt8] = []
    private var validator = UTF8Validator()
    /// For what comes compressed; nil where that was not negotiated, as mostly.
    private let inflation: Inflation?

    private final class Inflation {
        let inflater: Inflater
        /// What is there of a compressed message, as it came.
        var compressed: ByteBuffer?

        init(_ inflater: Inflater) { self.inflater = inflater }
    }

    /// Whether ``payload`` holds a message that was handed out, to be dropped before the next one.
    private var isDelivered = false

    /// - Parameter maximumMessageSize: the greatest size of a message, all fragments together, in bytes.
    ///   Of a compressed one, both before and after decompression.
    package init(role: Role, maximumMessageSize: Int, inflater: Inflater? = nil) {
        self.role = role
        inflation = inflater.map { Inflation($0) }
        self.maximumMessageSize = maximumMessageSize
    }

    /// Whether a frame or a message has begun and not ended.
    package var isMidMessage: Bool {
        if case .payload = state { return true }
        return message != nil
    }

    /// What is held of a message that is not whole yet, in bytes of memory.
    package var heldBytes: Int {
        guard message != nil else { return 0 }
        return (isDelivered ? 0 : payload.storageCapacity) + (inflation?.compressed?.storageCapacity ?? 0)
    }

    /// Reads nothing more, and holds nothing.
    package mutating func stop() {
        state = .ended
        payload = ByteBuffer()
        inflation?.compressed = nil
        control = []
        message = nil
        isDelivered = false
    }

    /// Gives the memory of the last message back. To be called when no bytes are left, on many idle connections.
    package mutating func releaseMemory() {
        if isDelivered || (message == nil && payload.capacity > 0) {
            payload = ByteBuffer()
            isDelivered = false
        }
    }

    /// Reads on, to the next event.
    ///
    /// - Returns: nil when more bytes are needed; all of `buffer` but a part of a header has been taken by then.
    package mutating func next(from buffer: inout ByteBuffer) -> Event? {
        if isDelivered {
            payload.clear()
            isDelivered = false
        }
        do throws(ProtocolViolation) {
            while true {
                switch state {
                case .header:
                    guard let header = try FrameHeader.read(from: &buffer) else { return nil }
                    try begin(header)
                    state = .payload(header, read: 0)
                case .payload(let header, let read):
                    let taken = try take(header, read: read, from: &buffer)
                    guard read + taken == header.payloadLength else {
                        state = .payload(header, read: read + taken)
                        return nil
                    }
                    state = .header
                    if let event = try end(header) { return event }
                case .ended:
                    buffer.moveReaderIndex(to: buffer.writerIndex)
                    return nil
                }
            }
        } catch {
            state = .ended
            return .violation(error)
        }
    }

    /// Checks a frame against what came before it.
    private mutating func begin(_ header: FrameHeader) throws(ProtocolViolation) {
        switch role {
        case .server: if header.maskingKey == nil { throw .unmaskedFrame }
        case .client: if header.maskingKey != nil { throw .maskedFrame }
        }
        if header.isCompressed, inflation == nil || (header.opcode != .text && header.opcode != .binary) {
            throw .reservedBits
        }
        switch header.opcode {
        case .close, .ping, .pong:
            control.removeAll(keepingCapacity: true)
            return
        case .continuation:
            if message == nil { throw .unexpectedContinuation }
        case .text, .binary:
            if message != nil { throw .messageInterrupted }
            message = header.opcode
            validator = UTF8Validator()
            if header.isCompressed { inflation?.compressed = ByteBuffer() }
        }
        let taken = inflation?.compressed?.readableBytes ?? payload.readableBytes
        let (size, overflow) = taken.addingReportingOverflow(header.payloadLength)
        if overflow || size > maximumMessageSize {
            throw .messageTooBig(bytes: overflow ? Int.max : size, limit: maximumMessageSize)
        }
    }

    /// Takes what is there of the frame's payload.
    private mutating func take(
        _ header: FrameHeader, read: Int, from buffer: inout ByteBuffer
    ) throws(ProtocolViolation) -> Int {
        let count = min(header.payloadLength - read, buffer.readableBytes)
        guard count > 0 else { return 0 }
        let isValid = buffer.readWithUnsafeReadableBytes { bytes -> (Int, Bool) in
            let source = UnsafeRawBufferPointer(rebasing: bytes[..<count])
            guard !header.opcode.isControl else {
                let start = control.count
                control.append(contentsOf: source)
                control.withUnsafeMutableBytes { all in
                    let target = UnsafeMutableRawBufferPointer(rebasing: all[start...])
                    header.maskingKey?.apply(from: source, to: target, offset: read)
                }
                return (count, true)
            }
            if inflation?.compressed != nil {
                inflation?.compressed?.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                    header.maskingKey?.apply(from: source, to: target, offset: read)
                        ?? target.copyMemory(from: source)
                    return count
                }
                return (count, true)
            }
            var isValid = true
            payload.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
                if let key = header.maskingKey {
                    key.apply(from: source, to: target, offset: read)
                } else {
                    target.copyMemory(from: source)
                }
                if message == .text {
                    isValid = validator.consume(UnsafeRawBufferPointer(rebasing: target[..<count]))
                }
                return count
            }
            return (count, isValid)
        }
        if !isValid { throw .invalidUTF8 }
        return count
    }

    /// Makes an event of a frame that is there in full; nil when its message goes on.
    private mutating func end(_ header: FrameHeader) throws(ProtocolViolation) -> Event? {
        switch header.opcode {
        case .ping: return .ping(control)
        case .pong: return .pong(control)
        case .close:
            let event = try Self.close(control)
            state = .ended
            return event
        case .continuation, .text, .binary:
            guard header.isFinal, let opcode = message else { return nil }
            if let bytes = inflation?.compressed { try inflate(bytes, opcode) }
            if opcode == .text, !validator.isComplete { throw .invalidUTF8 }
            message = nil
            isDelivered = true
            return opcode == .text ? .text : .binary
        }
    }

    private mutating func inflate(_ bytes: ByteBuffer, _ opcode: Opcode) throws(ProtocolViolation) {
        inflation?.compressed = nil
        try inflation?.inflater.inflate(bytes, to: &payload, limit: maximumMessageSize)
        if opcode == .text, !payload.withUnsafeReadableBytes({ validator.consume($0) }) { throw .invalidUTF8 }
    }

    private static func close(_ payload: [UInt8]) throws(ProtocolViolation) -> Event {
        if payload.isEmpty { return .close(nil, reason: "") }
        if payload.count == 1 { throw .invalidClosePayload }
        let code = CloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1]))
        if !code.maySend { throw .invalidCloseCode(code.rawValue) }
        guard let reason = String(validating: payload[2...], as: UTF8.self) else { throw .invalidUTF8 }
        return .close(code, reason: reason)
    }
}
