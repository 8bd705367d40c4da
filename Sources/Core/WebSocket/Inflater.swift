import CZlib
package import NIOCore

/// Decompresses messages (RFC 7692, section 7.2.2), one whole message at a time. One that forgets can serve many
/// connections of one event loop; one that does not is its connection's own.
package final class Inflater {
    private let forgets: Bool
    private var stream: UnsafeMutablePointer<z_stream>?
    private let windowBits: Int

    /// How much is made room for at a time, so that little is held beyond a limit.
    private static let step = 16 * 1024

    /// - Parameters:
    ///   - forgets: whether no message refers to one before it.
    ///   - windowBits: the greatest window that messages may need, 9 to 15.
    package init(forgets: Bool, windowBits: Int) {
        self.forgets = forgets
        self.windowBits = windowBits
    }

    deinit {
        guard let stream else { return }
        inflateEnd(stream)
        stream.deallocate()
    }

    /// Decompresses a message to the end of `output`. Stops as soon as `output` is greater than `limit`.
    package func inflate(
        _ message: ByteBuffer, to output: inout ByteBuffer, limit: Int
    ) throws(ProtocolViolation) {
        let stream = prepared()
        if forgets { inflateReset(stream) }
        var message = message
        // What the sender left out behind every message.
        message.writeInteger(0x0000_FFFF as UInt32)
        var failure: ProtocolViolation?
        message.withUnsafeReadableBytes { bytes in
            stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.bindMemory(to: UInt8.self).baseAddress)
            stream.pointee.avail_in = UInt32(bytes.count)
            repeat {
                let code = step(stream, &output)
                if output.readableBytes > limit {
                    failure = .messageTooBig(bytes: output.readableBytes, limit: limit)
                } else if code == Z_STREAM_END {
                    // A last block ends the stream, not the message (section 7.2.3.4): what follows may still refer to it.
                    inflateResetKeep(stream)
                } else if code != Z_OK && code != Z_BUF_ERROR {
                    failure = .invalidCompression
                }
            } while failure == nil && (stream.pointee.avail_in > 0 || stream.pointee.avail_out == 0)
        }
        stream.pointee.next_in = nil
        stream.pointee.avail_in = 0
        if let failure { throw failure }
    }

    private func step(_ stream: UnsafeMutablePointer<z_stream>, _ output: inout ByteBuffer) -> Int32 {
        var code = Z_OK
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.step) { space in
            stream.pointee.next_out = space.bindMemory(to: UInt8.self).baseAddress
            stream.pointee.avail_out = UInt32(min(space.count, Self.step))
            let before = stream.pointee.avail_out
            code = CZlib.inflate(stream, Z_SYNC_FLUSH)
            return Int(before - stream.pointee.avail_out)
        }
        return code
    }

    /// The stream, made when the first compressed message comes: many connections never send one.
    private func prepared() -> UnsafeMutablePointer<z_stream> {
        if let stream { return stream }
        let new = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        new.initialize(to: z_stream())
        guard starling_inflate_init(new, Int32(-windowBits)) == Z_OK else {
            preconditionFailure("zlib has no memory for a stream")
        }
        stream = new
        return new
    }
}
