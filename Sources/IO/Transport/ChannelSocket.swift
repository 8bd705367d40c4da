import NIOCore
import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Who has a ``ChannelSocket``: the handler of its channel.
protocol ChannelSocketOwner: AnyObject {
    /// The channel has got rid of something that was queued.
    func socketWrote()
    /// The sending side is closed.
    func socketFinished()
}

/// The socket of a channel, as an ``Outbound`` wants it. Belongs to the channel's event loop.
final class ChannelSocket: OutboundSocket {
    private var context: ChannelHandlerContext?
    /// Strong, until the channel is closed: anything weaker makes every reference to the handler slower.
    private var owner: (any ChannelSocketOwner)?
    private var descriptor: NIOBSDSocket.Handle?
    /// Whether bytes must not go past the channel's other handlers.
    private let isEncrypted: Bool

    init(isEncrypted: Bool = false) {
        self.isEncrypted = isEncrypted
    }

    /// The handler was added to the pipeline of an open channel.
    func attach(_ context: ChannelHandlerContext, to owner: any ChannelSocketOwner) {
        self.context = context
        self.owner = owner
        descriptor = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
    }

    /// The channel is closed: its descriptor may be another's by now.
    func detach() {
        context = nil
        owner = nil
        descriptor = nil
    }

    func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult {
        guard let descriptor else { return context == nil ? .failed : .unavailable }
        if isEncrypted { return .unavailable }
        guard bytes.count > 0 else { return .sent(0) }
        #if canImport(Glibc)
            let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
        #else
            let flags = Int32(MSG_DONTWAIT)
        #endif
        while true {
            let count = send(descriptor, bytes.baseAddress, bytes.count, flags)
            if count >= 0 { return .sent(count) }
            switch errno {
            case EINTR: continue
            case EAGAIN, EWOULDBLOCK, ENOBUFS: return .sent(0)
            default: return .failed
            }
        }
    }

    /// How far the peer's kernel has got with what it is sent, in bytes.
    struct Progress: Equatable {
        var taken: UInt64
        /// What is on its way or waits in this machine's kernel.
        var outstanding: UInt64
    }

    /// nil where the kernel does not say.
    func progress() -> Progress? {
        guard let descriptor else { return nil }
        var outstanding: Int32 = 0
        #if canImport(Glibc)
            // struct tcp_info of linux/tcp.h; the C library's own ends before tcpi_bytes_acked.
            let bytesAcknowledged = 120
            var info = [UInt8](repeating: 0, count: 256)
            var length = socklen_t(info.count)
            guard getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &length) == 0,
                Int(length) >= bytesAcknowledged + 8, ioctl(descriptor, UInt(TIOCOUTQ), &outstanding) == 0
            else { return nil }
            let taken = info.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: bytesAcknowledged, as: UInt64.self) }
            return Progress(taken: taken, outstanding: UInt64(max(0, outstanding)))
        #else
            // What is outstanding is all that is known: it shrinks when something is taken.
            var length = socklen_t(MemoryLayout<Int32>.size)
            guard getsockopt(descriptor, SOL_SOCKET, SO_NWRITE, &outstanding, &length) == 0 else { return nil }
            return Progress(taken: UInt64(Int32.max - outstanding), outstanding: UInt64(max(0, outstanding)))
        #endif
    }

    func writeLater(_ bytes: ByteBuffer) {
        guard let context else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] result in
            let owner = owner
            // The socket is closed before the channel says that it is inactive: its descriptor may be another's by now.
            if case .failure = result { detach() }
            owner?.socketWrote()
        }
        context.writeAndFlush(NIOAny(bytes), promise: promise)
    }

    func finish() {
        guard let context else { return }
        // Closing the output of a channel whose input is closed closes it as a whole, with what is queued in it: so not
        // before that is gone.
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [self] _ in
            context.close(mode: .output, promise: nil)
            owner?.socketFinished()
        }
        context.writeAndFlush(NIOAny(ByteBuffer()), promise: promise)
    }
}
