import NIOCore

/// Makes the buffers that a channel reads into: small ones at first, larger ones while they are filled, and each for one
/// read only, so that an idle connection keeps none.
///
/// A channel keeps the first buffer that it is given for ever (`NIOPooledRecvBufferAllocator`), and those after it where it
/// may read more than once at a time or where it is told their size. So the first one is tiny, and only the beginning of
/// the handshake is read into it.
struct ReceiveBuffers: RecvByteBufferAllocator {
    private static let first = 32
    private static let smallest = 512
    private static let largest = 65_536

    private var size = Int32(first)

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: Int(size))
    }

    mutating func record(actualReadBytes: Int) -> Bool {
        let isFull = actualReadBytes >= size
        if size < Self.smallest {
            size = Int32(Self.smallest)
        } else if isFull, size < Self.largest {
            size *= 2
        } else if actualReadBytes * 4 <= size, size > Self.smallest {
            size /= 2
        }
        // True: the buffer that the channel has kept is not used again.
        return true
    }
}
