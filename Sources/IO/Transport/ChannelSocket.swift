#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif
import NIOCore
import NIOPosix

/// The socket of a channel, as an ``Outbound`` wants it. Belongs to the channel's event loop.
final class ChannelSocket: OutboundSocket {
    private var context: ChannelHandlerContext?
    /// nil where bytes must not go past the channel.
    private var descriptor: NIOBSDSocket.Handle?
    /// Told when the channel has got rid of something that was queued.
    private let wrote: (_ cost: Int) -> Void

    init(wrote: @escaping (_ cost: Int) -> Void) {
        self.wrote = wrote
    }

    /// The handler was added to the pipeline of an open channel.
    func attach(_ context: ChannelHandlerContext) {
        self.context = context
        descriptor = try? context.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
    }

    /// The channel is closed: its descriptor may be another's by now.
    func detach() {
        context = nil
        descriptor = nil
    }

    func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult {
        guard let descriptor else { return context == nil ? .failed : .unavailable }
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

    func writeLater(_ bytes: ByteBuffer, cost: Int) {
        guard let context else { return }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { [weak self] _ in self?.wrote(cost) }
        context.writeAndFlush(NIOAny(bytes), promise: promise)
    }

    func finish() {
        // The channel closes its output behind what is queued in it.
        context?.writeAndFlush(NIOAny(ByteBuffer()), promise: nil)
        context?.close(mode: .output, promise: nil)
    }
}
