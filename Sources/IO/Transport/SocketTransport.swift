import Access
import Loops
import NIOCore
import SyncEngine
import SyncProtocol
import WebSocket

/// The only handler of a connection after its handshake: bytes to messages on the way in, and one ``Outbound`` on the way
/// out. It decides nothing: the ``Shard`` does.
final class SocketTransport: ChannelDuplexHandler, ChannelSocketOwner, ConnectionTransport {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What only a connection has that is ending.
    private final class Ending {
        /// Of the Close frame to be sent; nil where the peer is not there to read one.
        let payload: [UInt8]?
        var timer: Scheduled<Void>?

        init(payload: [UInt8]?) { self.payload = payload }
    }

    private let loop: SocketLoop
    var driver: LoopDriver { loop.driver }
    private let gate: ConnectionGate?
    private let deflate: DeflateParameters?
    var reader: MessageReader
    private(set) var id = ConnectionID(slot: -1, generation: 0)
    private(set) var context: ChannelHandlerContext?
    private let socket: ChannelSocket
    private let outbound: Outbound
    /// Bytes that wait for the shard to catch up, or for the rest of a frame's header.
    var inbound = ByteBuffer()
    /// The answers to pings that are to be sent.
    private var pongs = ByteBuffer()
    /// nil: it is not ending.
    private var ending: Ending?
    private var lastHeard = NIODeadline.now()
    /// Of a silent or slow peer, which few are.
    private var keepAlive: KeepAlive?
    var held: HeldMemory
    var life = ConnectionLife()

    /// - Parameters:
    ///   - gate: what it came through, and leaves when it is closed; nil: somebody else does that.
    ///   - isEncrypted: whether bytes must not go past the channel's other handlers.
    init(loop: SocketLoop, gate: ConnectionGate?, deflate: DeflateParameters? = nil, isEncrypted: Bool = false) {
        self.loop = loop
        let driver = loop.driver
        self.deflate = deflate
        self.gate = gate
        held = HeldMemory(driver.services.memory, of: .known)
        let inflater = deflate.map { $0.clientForgets ? loop.inflater : $0.makeInflater() }
        reader = MessageReader(
            role: .server, maximumMessageSize: driver.limits.maximumMessageSize, inflater: inflater)
        socket = ChannelSocket(isEncrypted: isEncrypted)
        outbound = Outbound(socket: socket)
    }

    var backlog: Int { outbound.backlog }
    var hasFailed: Bool { outbound.hasFailed }

    // MARK: Life

    /// Takes over a channel: sends the handshake's response, and reads what came behind the request.
    func open(response: ByteBuffer, rest: ByteBuffer, grant: Grant) {
        // The welcome is only queued by this, and leaves behind the response.
        id = driver.connect(self, grant: grant)
        meet()
        outbound.send(response)
        // Not the response: that is no frame.
        if let deflate, !isShared { outbound.deflater = deflate.makeDeflater() }
        inbound = rest
        readMessages()
        driver.run()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        socket.attach(context, to: self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        leave()
        gate?.leave()
    }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    /// The channel is closed. Whoever was added to one that was closed already hears of it only by being removed.
    private func leave() {
        guard context != nil else { return }
        ending?.timer?.cancel()
        outbound.closed()
        socket.detach()
        driver.disconnect(id)
        stopReading()
        context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            // The client sends no more. It may still read: what it is owed is sent before the end.
            switch life.inputEnded() {
            case .close: context.close(promise: nil)
            case .take:
                driver.readable(self)
                driver.run()
            case .wait: break
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastHeard = .now()
        keepAlive?.pingedAt = nil
        var bytes = unwrapInboundIn(data)
        if inbound.readableBytes == 0 {
            inbound = bytes
        } else {
            inbound.discardReadBytes()
            inbound.writeBuffer(&bytes)
        }
        if life.isReading { driver.readable(self) }
        // Who has handed the channel over may pass on what it had read without saying when that was all.
        loop.runSoon()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        loop.runSoon()
        if inbound.readableBytes == 0 {
            inbound = ByteBuffer()
            reader.releaseMemory()
        }
        countHeld()
    }

    /// Asked by the channel before it reads: it does not while this connection is paused.
    func read(context: ChannelHandlerContext) {
        if life.mayChannelRead() { context.read() }
    }

    /// After how many messages and control frames others have their turn, unless what came has been there for less than
    /// ``burst``: a burst of writes becomes one commit, and one fan-out.
    private static let turn = 64
    /// Likewise after how many bytes, whenever they came: little on the wire can be much when it is not compressed any more.
    private static let largestTurn = 128 << 10
    private static let burst = TimeAmount.microseconds(250)

    /// Takes what has come apart, for as long as there is room for it.
    func readMessages() {
        var taken = 0
        var takenBytes = 0
        // Not elsewhere: this is never in the middle of a fan-out.
        if held.party == .stranger { meet() }
        defer { sendPongs() }
        while life.isReading {
            if takenBytes >= Self.largestTurn
                || (deflate != nil && loop.turns.hasTakenMuch && inbound.readableBytes > 0)
            {
                return yield()
            }
            if taken == Self.turn {
                guard NIODeadline.now() - lastHeard < Self.burst else { return yield() }
                taken = 0
            }
            taken += 1
            guard driver.requestRead(id, backlog: backlog) else { return life.pause(for: .room) }
            guard let event = reader.next(from: &inbound) else {
                if life.hasTakenEverything { beginClosing(payload: nil) }
                return
            }
            handle(event)
            let size = reader.payload.readableBytes
            takenBytes += size
            loop.turns.noteTaken(size)
        }
    }

    /// Lets others have their turn, and goes on behind them.
    private func yield() {
        life.pause(for: .turn)
        loop.turns.enter(self)
    }

    /// It is this connection's turn again.
    func goOn() {
        guard context != nil else { return }
        resume(from: .turn)
        countHeld()
    }

    func resume() { resume(from: .room) }

    /// Reads on, unless there is another reason not to.
    func resume(from reason: ConnectionLife.Pause) {
        guard life.resume(from: reason) else { return }
        readMessages()
        if life.takeHeldRead() { context?.read() }
    }

    private func handle(_ event: MessageReader.Event) {
        switch event {
        case .text:
            let result: Result<ClientMessage, WireError>
            do throws(WireError) {
                result = .success(try driver.decoder.decode(reader.payload.readableBytesUInt8Span))
            } catch {
                result = .failure(error)
            }
            let size = reader.payload.readableBytes
            switch result {
            case .success(.hello(let hello)) where hello.token != nil: check(hello, size: size)
            case .success(let message): driver.receive(.message(message), size: size, from: id)
            case .failure(let error): driver.receive(.invalid(error), size: size, from: id)
            }
        case .binary:
            beginClosing(
                payload: FrameEncoder.closePayload(.unsupportedData, reason: "messages are JSON in text frames"))
        case .ping(let payload): FrameEncoder.write(.pong, payload, to: &pongs)
        case .pong: break
        case .close(let code, _): beginClosing(payload: FrameEncoder.closePayload(code))
        case .violation(let violation):
            beginClosing(payload: FrameEncoder.closePayload(violation.closeCode, reason: violation.reason))
        }
    }

    // MARK: Out

    /// Whether what it is sent is compressed as for others, once for all of them.
    private var isShared: Bool { deflate?.isShared == true }

    func send(_ frames: ByteBuffer) {
        outbound.send(isShared ? loop.deflater.encode(frames) : frames)
    }

    func send(_ delivery: Delivery) {
        outbound.send(isShared ? loop.compressed(delivery) : delivery.frames, of: delivery)
    }

    /// Drops the updates that are not begun.
    func drop() -> [Delivery] { outbound.drop() }

    /// Answers the pings of a turn with one system call.
    private func sendPongs() {
        guard pongs.readableBytes > 0 else { return }
        outbound.send(pongs)
        pongs = ByteBuffer()
    }

    private func sendControl(_ opcode: Opcode, _ payload: [UInt8]) {
        var frame = ByteBuffer()
        FrameEncoder.write(opcode, payload, to: &frame)
        outbound.send(frame)
    }

    func socketWrote() {
        if outbound.wrote() { driver.drained(id) }
    }

    // MARK: Silence

    /// Pings a silent client, and finds out whether a slow or silent one is still there. To be called every second or so.
    func check(at now: NIODeadline) -> Liveness {
        guard life.isServing else { return .alive }
        if !life.isReading {
            // It is not read from: whatever it has answered is still to come.
            keepAlive?.pingedAt = nil
        } else if keepAlive?.pingedAt == nil, now - lastHeard >= driver.limits.pingInterval {
            let keepAlive = keepAlive ?? KeepAlive()
            keepAlive.pingedAt = now
            self.keepAlive = keepAlive
            sendControl(.ping, [])
        }
        guard backlog > 0 || keepAlive?.pingedAt != nil else {
            keepAlive = nil
            return .alive
        }
        let keepAlive = keepAlive ?? KeepAlive()
        self.keepAlive = keepAlive
        return keepAlive.look(socket.progress(), backlog: backlog, at: now, limits: driver.limits)
    }

    /// Ends the connection without what it is owed. It is told why, should it read again before the drain timeout.
    func giveUp(_ code: ErrorCode, _ reason: String) {
        guard life.giveUp() == .tell else {
            // It is being sent what it is owed, which it is not any more.
            outbound.dropAll()
            return abort()
        }
        driver.abandon(id)
        outbound.dropAll()
        sendBye(code, reason)
        sendControl(.close, FrameEncoder.closePayload(.policyViolation, reason: reason))
        outbound.finish()
        schedule(driver.limits.drainTimeout)
    }

    private func sendBye(_ code: ErrorCode, _ reason: String) {
        var frame = ByteBuffer()
        FrameEncoder.writeText(to: &frame) {
            ServerMessage.writeBye(
                code: code.rawValue, reason: reason, retryAfter: code.mayRetry ? 1_000 : nil, to: &$0)
        }
        outbound.send(frame)
    }

    // MARK: The end

    /// The server is stopping: the connection ends as if the client had asked, and is told why.
    func shutDown() {
        if life.beginStopping() {
            close(payload: FrameEncoder.closePayload(.goingAway, reason: "the server is stopping"))
        }
        driver.run()
    }

    /// No more is read. What came before is answered, then ``finish()`` is called; if that takes longer than the drain
    /// timeout, the connection is cut.
    private func beginClosing(payload: [UInt8]?) {
        if life.beginClosing() { close(payload: payload) }
    }

    private func close(payload: [UInt8]?) {
        ending = Ending(payload: payload)
        driver.receive(.close, from: id)
        schedule(driver.limits.drainTimeout)
    }

    /// Everything is answered: sends the Close, and closes the sending side behind it. What the client is slow to take
    /// may still be queued; the drain timeout goes on.
    func finish() {
        if life.saysGoodbye { sendBye(.shuttingDown, "the server is stopping") }
        if let payload = ending?.payload { sendControl(.close, payload) }
        outbound.finish()
    }

    /// The sending side is closed. Its own side the client closes: to close both at once would throw away what is still
    /// on its way to it.
    func socketFinished() {
        ending?.timer?.cancel()
        switch life.outputEnded() {
        case .close: abort()
        case .linger: schedule(driver.limits.lingerTimeout)
        }
    }

    /// Closes the socket when some time has passed.
    private func schedule(_ delay: TimeAmount) {
        let ending = ending ?? Ending(payload: nil)
        self.ending = ending
        ending.timer = driver.eventLoop.assumeIsolated().scheduleTask(in: delay) { [self] () -> Void in abort() }
    }

    /// Closes the socket as it is.
    func abort() {
        context?.close(promise: nil)
    }
}
