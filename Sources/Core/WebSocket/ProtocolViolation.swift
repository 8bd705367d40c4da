/// What a peer did against RFC 6455: the connection has to be failed with the code it maps to (section 7.1.7).
package enum ProtocolViolation: Error, Equatable, Sendable {
    case reservedBits
    case unknownOpcode(UInt8)
    case unmaskedFrame
    case maskedFrame
    case fragmentedControlFrame
    case controlFrameTooLong(Int)
    case lengthNotMinimal
    case lengthTooLarge
    case unexpectedContinuation
    case messageInterrupted
    case messageTooBig(bytes: Int, limit: Int)
    case invalidUTF8
    case invalidCompression
    case invalidClosePayload
    case invalidCloseCode(UInt16)

    package var closeCode: CloseCode {
        switch self {
        case .messageTooBig: .messageTooBig
        case .invalidUTF8, .invalidCompression: .invalidPayload
        case .reservedBits, .unknownOpcode, .unmaskedFrame, .maskedFrame, .fragmentedControlFrame,
            .controlFrameTooLong, .lengthNotMinimal, .lengthTooLarge, .unexpectedContinuation, .messageInterrupted,
            .invalidClosePayload, .invalidCloseCode:
            .protocolError
        }
    }

    /// The reason for the Close frame: at most 123 bytes, for a person who reads a log.
    package var reason: String {
        switch self {
        case .reservedBits: "reserved bits are set where no extension that was negotiated has them"
        case .unknownOpcode(let opcode): "unknown opcode \(opcode)"
        case .unmaskedFrame: "frames from a client must be masked"
        case .maskedFrame: "frames from a server must not be masked"
        case .fragmentedControlFrame: "control frames must not be fragmented"
        case .controlFrameTooLong(let length): "control frame is \(length) bytes; the limit is 125"
        case .lengthNotMinimal: "frame length is not in its shortest form"
        case .lengthTooLarge: "frame length has its highest bit set"
        case .unexpectedContinuation: "continuation frame without a message to continue"
        case .messageInterrupted: "new message before the last one ended"
        case .messageTooBig(let bytes, let limit): "message is \(bytes) bytes or more; the limit is \(limit)"
        case .invalidUTF8: "text is not valid UTF-8"
        case .invalidCompression: "the message does not decompress"
        case .invalidClosePayload: "close frame has a payload of 1 byte"
        case .invalidCloseCode(let code): "close code \(code) must not be sent"
        }
    }
}
