package import NIOCore

/// Encodes whole frames.
package enum FrameEncoder {
    /// Appends a frame with `payload` to `buffer`, masked when there is a key: a client must, a server must not.
    package static func write(
        _ opcode: Opcode, _ payload: some Collection<UInt8>, isFinal: Bool = true, maskingKey: MaskingKey? = nil,
        to buffer: inout ByteBuffer
    ) {
        FrameHeader(isFinal: isFinal, opcode: opcode, maskingKey: maskingKey, payloadLength: payload.count)
            .write(to: &buffer)
        let start = buffer.readableBytes
        buffer.writeBytes(payload)
        guard let maskingKey else { return }
        buffer.withUnsafeMutableReadableBytes { bytes in
            let masked = UnsafeMutableRawBufferPointer(rebasing: bytes[start...])
            maskingKey.apply(from: UnsafeRawBufferPointer(masked), to: masked, offset: 0)
        }
    }

    /// Appends an unmasked text frame whose payload `body` writes, without laying the payload out anywhere else.
    ///
    /// The header's length depends on the payload's. Room for the usual one (126 to 65,535 bytes) is left, and a payload
    /// that is shorter or longer is moved.
    package static func writeText(to buffer: inout ByteBuffer, _ body: (inout ByteBuffer) -> Void) {
        let start = buffer.readableBytes
        let reserved = 4
        buffer.writeRepeatingByte(0, count: reserved)
        body(&buffer)
        let length = buffer.readableBytes - start - reserved
        let headerLength = FrameHeader.length(forPayload: length)
        if headerLength > reserved {
            buffer.writeRepeatingByte(0, count: headerLength - reserved)
        }
        if headerLength != reserved {
            buffer.withUnsafeMutableReadableBytes { bytes in
                let payload = UnsafeRawBufferPointer(rebasing: bytes[(start + reserved)...].prefix(length))
                // Overlapping is fine: copyMemory is memmove.
                UnsafeMutableRawBufferPointer(rebasing: bytes[(start + headerLength)...]).copyMemory(from: payload)
            }
        }
        let end = buffer.readerIndex + start + headerLength + length
        buffer.moveWriterIndex(to: buffer.readerIndex + start)
        FrameHeader(opcode: .text, payloadLength: length).write(to: &buffer)
        buffer.moveWriterIndex(to: end)
    }

    /// The payload of a Close frame: nothing, or a code and a reason cut to the 123 bytes that fit.
    package static func closePayload(_ code: CloseCode?, reason: String = "") -> [UInt8] {
        guard let code else { return [] }
        var text = reason
        while text.utf8.count > 123 { text.removeLast() }
        return [UInt8(code.rawValue >> 8), UInt8(code.rawValue & 0xFF)] + Array(text.utf8)
    }
}
