package import NIOCore
package import WebSocket

/// The first handler of every connection: reads the head of the first request, and either shakes hands for a WebSocket
/// or leaves the channel to HTTP. A parser of our own before any HTTP handler halves what a handshake costs.
final class DoorHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What to do with a request that is for a WebSocket's path: make the handler that takes over.
    typealias Upgrade = (ChannelHandlerContext, _ response: ByteBuffer, _ rest: ByteBuffer) -> Void

    private let routes: DoorRoutes
    private let limits: TransportLimits
    private let upgrade: Upgrade
    private var buffer = ByteBuffer()
    private var timer: Scheduled<Void>?
    private var isDone = false

    init(routes: DoorRoutes, limits: TransportLimits, upgrade: @escaping Upgrade) {
        self.routes = routes
        self.limits = limits
        self.upgrade = upgrade
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: limits.handshakeTimeout) {
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        guard !isDone else { return }
        buffer.writeBuffer(&bytes)
        guard let length = headLength() else {
            if buffer.readableBytes > limits.maximumHeadSize { refuse(context, Self.headTooLarge) }
            return
        }
        isDone = true
        let head = RequestHead(buffer.readableBytesView.prefix(length))
        guard let head, head.path == routes.webSocketPath else { return leaveToHTTP(context) }
        do throws(Handshake.Refusal) {
            let response = ByteBuffer(string: try routes.handshake.accept(head))
            buffer.moveReaderIndex(forwardBy: length)
            upgrade(context, response, buffer)
        } catch {
            refuse(context, error.response)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event, !isDone || buffer.readableBytes > 0 {
            // Half a request will not become a whole one.
            context.close(promise: nil)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private static let headTooLarge =
        "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    /// The length of the head with its empty line, once that is there.
    private func headLength() -> Int? {
        let end: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A]
        return buffer.withUnsafeReadableBytes { bytes in
            guard bytes.count >= end.count else { return nil }
            for index in 0...(bytes.count - end.count) where bytes[index] == end[0] {
                if bytes[index..<(index + end.count)].elementsEqual(end) { return index + end.count }
            }
            return nil
        }
    }

    private func refuse(_ context: ChannelHandlerContext, _ response: String) {
        isDone = true
        buffer.clear()
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: response)), promise: nil)
        context.close(mode: .output, promise: nil)
        // The timer of the handshake closes what the client does not.
    }

    private func leaveToHTTP(_ context: ChannelHandlerContext) {
        timer?.cancel()
        do {
            try routes.takeHTTP(context.channel)
        } catch {
            context.close(promise: nil)
            return
        }
        let request = buffer
        buffer = ByteBuffer()
        context.fireChannelRead(NIOAny(request))
        context.fireChannelReadComplete()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

}

/// Where requests go.
package struct DoorRoutes: Sendable {
    /// The path of the WebSocket.
    package var webSocketPath: String
    package var handshake: Handshake
    /// Adds the handlers of HTTP to a channel's pipeline; on the channel's event loop.
    package var takeHTTP: @Sendable (any Channel) throws -> Void

    package init(
        webSocketPath: String, handshake: Handshake, takeHTTP: @escaping @Sendable (any Channel) throws -> Void
    ) {
        self.webSocketPath = webSocketPath
        self.handshake = handshake
        self.takeHTTP = takeHTTP
    }
}
