package import NIOCore

extension ByteBuffer {
    /// The same bytes, by themselves where they are a small part of a buffer that many share: a remainder keeps all of it.
    package var unshared: ByteBuffer {
        readableBytes * 4 < storageCapacity ? ByteBuffer(bytes: readableBytesView) : self
    }

    /// The memory that it holds on to, in bytes.
    package var cost: Int { max(readableBytes, storageCapacity) }
}
