import NIOCore

/// Closes the sockets of TLS connections whose peer is gone.
///
/// NIOSSL answers a close by a close_notify, and waits 5 s for the peer's, with all that a TLS connection holds (40 KB). From a peer that
/// has closed its side nothing can come any more; and where strangers make and drop a thousand connections a second, what waits would
/// be 200 MB. (It waits even when the socket is closed meanwhile: NIOSSLHandler.channelInactive cancels no timer.)
enum TLSClosing {
    /// Adds TLS to a channel, with a handler on each side of it.
    static func addHandlers(to channel: any Channel, _ tls: some ChannelHandler) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(Above(), position: .first)
        try pipeline.addHandler(tls, position: .first)
        try pipeline.addHandler(Below(), position: .first)
    }

    /// Asks for the socket to be closed without another word.
    private struct CloseNow: Sendable {}

    /// Above TLS: sees that the peer has closed its side, and that we close ours.
    private final class Above: ChannelDuplexHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundIn = ByteBuffer

        private var isPeerGone = false

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case ChannelEvent.inputClosed = event { isPeerGone = true }
            context.fireUserInboundEventTriggered(event)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            // A reset, or something that is no TLS: nothing that is said would arrive.
            isPeerGone = true
            context.fireErrorCaught(error)
        }

        func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
            if isPeerGone, mode == .all {
                context.triggerUserOutboundEvent(CloseNow(), promise: promise)
            } else {
                context.close(mode: mode, promise: promise)
            }
        }
    }

    /// Below TLS: closes the socket.
    private final class Below: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer

        func triggerUserOutboundEvent(
            context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
        ) {
            if event is CloseNow {
                context.close(promise: promise)
            } else {
                context.triggerUserOutboundEvent(event, promise: promise)
            }
        }
    }
}
