import NIOCore
import WebSocket

/// A client's end of a WebSocket: shakes hands, then turns frames into messages and messages into masked frames. Answers
/// pings by itself.
final class ClientChannelHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case handshaking(ClientHandshake)
        case open
        case closed
    }

    private let endpoint: Endpoint
    private let token: String?
    private let opened: EventLoopPromise<Void>
    private var state: State
    private var reader: MessageReader
    private var inbound = ByteBuffer()
    private var random = SystemRandomNumberGenerator()

    /// - Parameter opened: is completed when the handshake is.
    init(endpoint: Endpoint, token: String? = nil, maximumMessageSize: Int, opened: EventLoopPromise<Void>) {
        self.endpoint = endpoint
        self.token = token
        self.opened = opened
        reader = MessageReader(role: .client, maximumMessageSize: maximumMessageSize)
        state = .handshaking(ClientHandshake(random: (0..<16).map { _ in UInt8.random(in: .min ... .max) }))
    }

    func channelActive(context: ChannelHandlerContext) {
        guard case .handshaking(let handshake) = state else { return }
        let request = handshake.request(host: endpoint.authority, path: endpoint.path, token: token)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: request)), promise: nil)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        opened.fail(ClientError(.unavailable, "the server closed the connection during the handshake"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        opened.fail(error)
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        inbound.writeBuffer(&bytes)
        if case .handshaking(let handshake) = state, !finish(handshake, context) { return }
        while case .open = state, let event = reader.next(from: &inbound) {
            handle(event, context)
        }
        inbound.discardReadBytes()
    }

    /// - Returns: whether the connection is open now.
    private func finish(_ handshake: ClientHandshake, _ context: ChannelHandlerContext) -> Bool {
        let text = Array(inbound.readableBytesView)
        let end = Array("\r\n\r\n".utf8)
        guard let index = text.indices.first(where: { text[$0...].starts(with: end) }) else { return false }
        if let problem = handshake.problem(inResponse: text) {
            let status = handshake.status(ofResponse: text)
            opened.fail(ClientError(status.map { .refused(status: $0) } ?? .unavailable, problem))
            context.close(promise: nil)
            return false
        }
        inbound.moveReaderIndex(forwardBy: index + end.count)
        state = .open
        opened.succeed()
        return true
    }

    private func handle(_ event: MessageReader.Event, _ context: ChannelHandlerContext) {
        switch event {
        case .text, .binary:
            context.fireChannelRead(wrapInboundOut(ByteBuffer(bytes: reader.payload.readableBytesView)))
        case .ping(let payload): send(.pong, payload, context)
        case .pong: break
        case .close(let code, _):
            send(.close, FrameEncoder.closePayload(code), context)
            state = .closed
            context.close(promise: nil)
        case .violation(let violation):
            send(.close, FrameEncoder.closePayload(violation.closeCode, reason: violation.reason), context)
            state = .closed
            context.fireErrorCaught(ClientError(.protocolViolation, violation.reason))
            context.close(promise: nil)
        }
    }

    private func send(_ opcode: Opcode, _ payload: some Collection<UInt8>, _ context: ChannelHandlerContext) {
        var frame = ByteBuffer()
        FrameEncoder.write(opcode, payload, maskingKey: MaskingKey(random: random.next()), to: &frame)
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let message = unwrapOutboundIn(data)
        var frame = ByteBuffer()
        FrameEncoder.write(.text, message.readableBytesView, maskingKey: MaskingKey(random: random.next()), to: &frame)
        context.write(wrapOutboundOut(frame), promise: promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if case .open = state {
            state = .closed
            send(.close, FrameEncoder.closePayload(.normalClosure), context)
        }
        context.close(mode: mode, promise: promise)
    }
}
