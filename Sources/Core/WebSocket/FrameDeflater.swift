import CZlib
package import NIOCore

/// Compresses encoded frames (RFC 7692, section 7.2.1): what goes out is written once, for everybody,
/// and compressed for those who want that.
package final class FrameDeflater {
    /// Payloads below this many bytes stay as they are: less is saved than it costs.
    package static let threshold = 1_024
    /// Level 1: half the time of the usual 6, for a tenth more bytes.
    private static let level: Int32 = 1

    private let forgets: Bool
    private let threshold: Int
    private let windowBits: Int
    private var stream: UnsafeMutablePointer<z_stream>?

    /// - Parameters:
    ///   - forgets: whether no message is to refer to one before it.
    ///   - windowBits: the size of the window, 9 to 15.
    package init(forgets: Bool, windowBits: Int, threshold: Int = FrameDeflater.threshold) {
        self.forgets = forgets
        self.threshold = threshold
        self.windowBits = windowBits
    }

    deinit {
        guard let stream else { return }
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Gives `frames` back with the payloads of its messages compressed, where that is worth it.
    ///
    /// - Parameter frames: whole frames without masks, each a whole message or a control frame.
    package func encode(_ frames: ByteBuffer) -> ByteBuffer {
        var rest = frames
        var output: ByteBuffer?
        while rest.readableBytes > 0 {
            let start = rest.readerIndex
            guard let header = try? FrameHeader.read(from: &rest), rest.readableBytes >= header.payloadLength else {
                assertionFailure("frames that are not whole")
                return frames
            }
            let payload = rest.readSlice(length: header.payloadLength) ?? ByteBuffer()
            let isMessage = !header.opcode.isControl && header.isFinal && header.opcode != .continuation
            if isMessage, payload.readableBytes >= threshold, let compressed = compress(payload) {
                // Everything up to here stands as it is.
                if output == nil {
                    output = frames.getSlice(at: frames.readerIndex, length: start - frames.readerIndex)
                }
                FrameHeader(isCompressed: true, opcode: header.opcode, payloadLength: compressed.readableBytes)
                    .write(to: &output!)
                output?.writeImmutableBuffer(compressed)
            } else if output != nil {
                output?.writeImmutableBuffer(
                    frames.getSlice(at: start, length: rest.readerIndex - start) ?? ByteBuffer())
            }
        }
        return output ?? frames
    }

    /// - Returns: nil where the payload is better sent as it is.
    private func compress(_ payload: ByteBuffer) -> ByteBuffer? {
        // Nothing is an empty block without its end (section 7.2.3.6): a flush right behind another has no output.
        if payload.readableBytes == 0 { return ByteBuffer(bytes: [0]) }
        let stream = prepared()
        if forgets { deflateReset(stream) }
        var output = ByteBuffer()
        payload.withUnsafeReadableBytes { bytes in
            stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.bindMemory(to: UInt8.self).baseAddress)
            stream.pointee.avail_in = UInt32(bytes.count)
            repeat {
                output.writeWithUnsafeMutableBytes(minimumWritableBytes: max(256, bytes.count / 2)) { space in
                    let count = min(space.count, Int(UInt32.max))
                    stream.pointee.next_out = space.bindMemory(to: UInt8.self).baseAddress
                    stream.pointee.avail_out = UInt32(count)
                    deflate(stream, Z_SYNC_FLUSH)
                    return count - Int(stream.pointee.avail_out)
                }
            } while stream.pointee.avail_out == 0
        }
        // The four bytes that every flush ends in are left out.
        output.moveWriterIndex(to: output.writerIndex - 4)
        // A compressor that remembers has to send what it remembers.
        if forgets, output.readableBytes >= payload.readableBytes { return nil }
        return output
    }

    private func prepared() -> UnsafeMutablePointer<z_stream> {
        if let stream { return stream }
        let new = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        new.initialize(to: z_stream())
        // As much memory for the look-up as for the window.
        let memoryLevel = Int32(max(1, min(8, windowBits - 7)))
        guard starling_deflate_init(new, Self.level, Int32(-windowBits), memoryLevel) == Z_OK else {
            preconditionFailure("zlib has no memory for a stream")
        }
        stream = new
        return new
    }
}
