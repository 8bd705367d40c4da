import Loops
import NIOCore
import WebSocket

/// Sends every message back: what conformance suites test a WebSocket by. It shares the reader and the way out with
/// real connections.
final class EchoHandler: ChannelInboundHandler, ChannelSocketOwner {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var reader: MessageReader
    private let socket = ChannelSocket()
    private let outbound: Outbound
    private let gate: ConnectionGate?
    private var inbound = ByteBuffer()
    private let deflater: FrameDeflater?
    private var isClosing = false

    init(limits: TransportLimits, gate: ConnectionGate?, deflate: DeflateParameters? = nil) {
        reader = MessageReader(
            role: .server, maximumMessageSize: limits.maximumMessageSize, inflater: deflate?.makeInflater())
        // Everything is compressed, however small: that is what is tested.
        deflater = deflate?.makeDeflater(threshold: 0)
        outbound = Outbound(socket: socket)
        self.gate = gate
    }

    func open(response: ByteBuffer, rest: ByteBuffer) {
        outbound.send(response)
        inbound = rest
        readMessages()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        socket.attach(context, to: self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        gate?.leave()
    }

    func socketWrote() { _ = outbound.wrote() }

    func socketFinished() {}

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        inbound.writeBuffer(&bytes)
        inbound.discardReadBytes()
        readMessages()
    }

    func channelInactive(context: ChannelHandlerContext) {
        outbound.closed()
        socket.detach()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func readMessages() {
        while !isClosing, let event = reader.next(from: &inbound) {
            switch event {
            case .text: send(.text, reader.payload.readableBytesView)
            case .binary: send(.binary, reader.payload.readableBytesView)
            case .ping(let payload): send(.pong, payload)
            case .pong: break
            case .close(let code, _): close(FrameEncoder.closePayload(code))
            case .violation(let violation):
                close(FrameEncoder.closePayload(violation.closeCode, reason: violation.reason))
            }
        }
    }

    private func send(_ opcode: Opcode, _ payload: some Collection<UInt8>) {
        var frame = ByteBuffer()
        FrameEncoder.write(opcode, payload, to: &frame)
        outbound.send(deflater?.encode(frame) ?? frame)
    }

    private func close(_ payload: [UInt8]) {
        isClosing = true
        send(.close, payload)
        outbound.finish()
    }
}
