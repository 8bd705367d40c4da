import NIOCore

/// Told what comes in on the connections of a load generator, on its event loop.
protocol LoadConnectionOwner: AnyObject {
    func connected(_ connection: LoadConnection)
    /// - Parameter cursor: where the subscription begins.
    func subscribed(_ connection: LoadConnection, cursor: String?)
    func synced(_ connection: LoadConnection)
    /// - Parameter sentAt: what stands in the value: when it was sent, or was to be; nil where there is no such value.
    func updated(_ connection: LoadConnection, sentAt: UInt64?)
    func acknowledged(_ connection: LoadConnection)
    func refused(_ connection: LoadConnection, _ message: String)
    /// All that had come together is dealt with.
    func finishedReading()
    /// - Parameter wasOpen: whether there ever was a connection.
    func disconnected(_ connection: LoadConnection, wasOpen: Bool)
}

/// One connection of a load generator. Reads of each message just what it has to.
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let index: Int
    private unowned let owner: any LoadConnectionOwner
    private var context: ChannelHandlerContext?
    private var wasOpen = false
    /// When each write that is not acknowledged was sent, the oldest first from `answered` on.
    private var sent: [UInt64] = []
    private var answered = 0

    init(index: Int, owner: any LoadConnectionOwner) {
        self.index = index
        self.owner = owner
    }

    var isOpen: Bool { context != nil }
    /// How many writes are not acknowledged.
    var outstanding: Int { sent.count - answered }

    func send(_ message: String) {
        guard let context else { return }
        context.write(wrapOutboundOut(ByteBuffer(string: message)), promise: nil)
    }

    func flush() { context?.flush() }

    func close() { context?.close(promise: nil) }

    /// Sends a write that says when it was sent.
    func publish(_ key: String, at time: UInt64, padding: String) {
        sent.append(time)
        send("{\"type\":\"broadcast\",\"id\":\"w\",\"key\":\"\(key)\",\"value\":[\(time),\"\(padding)\"]}")
    }

    func delete(_ key: String, at time: UInt64) {
        sent.append(time)
        send("{\"type\":\"delete\",\"id\":\"w\",\"key\":\"\(key)\"}")
    }

    /// When the oldest write that was not acknowledged was sent; it is now. Acknowledgements come in order.
    func takeOldest() -> UInt64? {
        guard answered < sent.count else { return nil }
        answered += 1
        let time = sent[answered - 1]
        if answered == sent.count || answered > 4_096 {
            sent.removeFirst(answered)
            answered = 0
        }
        return time
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func channelActive(context: ChannelHandlerContext) { wasOpen = true }

    /// Also where the channel never became active.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        owner.disconnected(self, wasOpen: wasOpen)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelReadComplete(context: ChannelHandlerContext) { owner.finishedReading() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let message = unwrapInboundIn(data)
        // {"type":"update",…: two letters tell all types apart that matter here.
        let kind = message.withUnsafeReadableBytes { bytes in
            bytes.count > 11 ? (bytes[9], bytes[10]) : (0, 0)
        }
        switch kind {
        case (UInt8(ascii: "u"), UInt8(ascii: "p")): owner.updated(self, sentAt: Self.time(in: message))
        case (UInt8(ascii: "a"), UInt8(ascii: "c")): owner.acknowledged(self)
        case (UInt8(ascii: "s"), UInt8(ascii: "u")): owner.subscribed(self, cursor: Self.cursor(in: message))
        case (UInt8(ascii: "s"), UInt8(ascii: "y")): owner.synced(self)
        case (UInt8(ascii: "w"), UInt8(ascii: "e")): owner.connected(self)
        case (UInt8(ascii: "e"), UInt8(ascii: "r")), (UInt8(ascii: "b"), UInt8(ascii: "y")):
            owner.refused(self, String(buffer: message))
        default: break
        }
    }

    /// The number at the beginning of a value that ``publish(_:at:padding:)`` made.
    private static func time(in message: ByteBuffer) -> UInt64? {
        message.withUnsafeReadableBytes { bytes in
            // No key of ours has a bracket.
            guard var index = bytes.firstIndex(of: UInt8(ascii: "[")) else { return nil }
            index += 1
            var time: UInt64 = 0
            while index < bytes.count, 0x30...0x39 ~= bytes[index] {
                time = time &* 10 &+ UInt64(bytes[index] - 0x30)
                index += 1
            }
            return time
        }
    }

    private static func cursor(in message: ByteBuffer) -> String? {
        let parts = String(buffer: message).split(separator: "\"")
        guard let place = parts.firstIndex(of: "cursor"), place + 2 < parts.endIndex else { return nil }
        return String(parts[place + 2])
    }
}
