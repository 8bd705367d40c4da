package import NIOCore

/// The header of a frame (RFC 6455, section 5.2):
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     +-+-+-+-+-------+-+-------------+-------------------------------+
///     |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
///     |I|S|S|S|  (4)  |A|     (7)     |             (16/64)           |
///     |N|V|V|V|       |S|             |   (if payload len==126/127)   |
///     | |1|2|3|       |K|             |                               |
///     +-+-+-+-+-------+-+-------------+ - - - - - - - - - - - - - - - +
///     |          Masking-key, if MASK set to 1, and then the payload  |
package struct FrameHeader: Equatable, Sendable {
    package var isFinal: Bool
    /// RSV1: the first frame of a message that is compressed (RFC 7692, section 6).
    package var isCompressed: Bool
    package var opcode: Opcode
    package var maskingKey: MaskingKey?
    package var payloadLength: Int

    package init(
        isFinal: Bool = true, isCompressed: Bool = false, opcode: Opcode, maskingKey: MaskingKey? = nil,
        payloadLength: Int
    ) {
        self.isFinal = isFinal
        self.isCompressed = isCompressed
        self.opcode = opcode
        self.maskingKey = maskingKey
        self.payloadLength = payloadLength
    }

    /// The number of bytes of a header without a mask in front of `payloadLength` bytes.
    package static func length(forPayload payloadLength: Int) -> Int {
        payloadLength < 126 ? 2 : payloadLength <= 0xFFFF ? 4 : 10
    }

    /// Reads a header off the front of `buffer`.
    ///
    /// - Returns: nil, and leaves the buffer alone, when the header is not there in full.
    /// - Throws: what is wrong with it, as early as the bytes that are there show it.
    package static func read(from buffer: inout ByteBuffer) throws(ProtocolViolation) -> FrameHeader? {
        guard let (header, length) = try parse(buffer.readableBytesUInt8Span) else { return nil }
        buffer.moveReaderIndex(forwardBy: length)
        return header
    }

    private static func parse(
        _ bytes: Span<UInt8>
    ) throws(ProtocolViolation) -> (header: FrameHeader, length: Int)? {
        guard bytes.count >= 1 else { return nil }
        let first = bytes[0]
        if first & 0x30 != 0 { throw .reservedBits }
        let isCompressed = first & 0x40 != 0
        guard let opcode = Opcode(rawValue: first & 0x0F) else { throw .unknownOpcode(first & 0x0F) }
        let isFinal = first & 0x80 != 0
        if opcode.isControl, !isFinal { throw .fragmentedControlFrame }
        guard bytes.count >= 2 else { return nil }

        let isMasked = bytes[1] & 0x80 != 0
        let short = Int(bytes[1] & 0x7F)
        if opcode.isControl, short > 125 { throw .controlFrameTooLong(short) }
        let extended = short == 126 ? 2 : short == 127 ? 8 : 0
        let total = 2 + extended + (isMasked ? 4 : 0)
        guard bytes.count >= total else { return nil }

        var length = UInt64(short)
        if extended > 0 {
            length = 0
            for index in 2..<(2 + extended) { length = length << 8 | UInt64(bytes[index]) }
            if length < (extended == 2 ? 126 : 0x1_0000) { throw .lengthNotMinimal }
            if length > UInt64(Int.max) { throw .lengthTooLarge }
        }
        let mask = 2 + extended
        let key = isMasked ? MaskingKey((bytes[mask], bytes[mask + 1], bytes[mask + 2], bytes[mask + 3])) : nil
        let header = FrameHeader(
            isFinal: isFinal, isCompressed: isCompressed, opcode: opcode, maskingKey: key, payloadLength: Int(length))
        return (header, total)
    }

    /// Writes the header to the end of `buffer`.
    package func write(to buffer: inout ByteBuffer) {
        let mask: UInt8 = maskingKey == nil ? 0 : 0x80
        buffer.writeInteger((isFinal ? 0x80 : 0) | (isCompressed ? 0x40 : 0) | opcode.rawValue)
        if payloadLength < 126 {
            buffer.writeInteger(mask | UInt8(payloadLength))
        } else if payloadLength <= 0xFFFF {
            buffer.writeInteger(mask | 126)
            buffer.writeInteger(UInt16(payloadLength))
        } else {
            buffer.writeInteger(mask | 127)
            buffer.writeInteger(UInt64(payloadLength))
        }
        if let (a, b, c, d) = maskingKey?.bytes {
            buffer.writeMultipleIntegers(a, b, c, d)
        }
    }
}
