import Access
import Loops
import NIOCore
import WebSocket

/// The first handler of every connection: reads the head of the first request, and either shakes hands for a WebSocket
/// or leaves the channel to HTTP. A parser of our own before any HTTP handler halves what a handshake costs.
final class HandshakeHandler: ChannelInboundHandler, RemovableChannelHandler, AdmissionWaiter {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let routes: HandshakeRoutes
    private let limits: TransportLimits
    private let admissions: AdmissionQueue?
    private let refusal: HandshakeRefusal?
    private var buffer = ByteBuffer()
    private var held: HeldMemory
    private var timer: Scheduled<Void>?
    /// Whether nothing more is read here.
    private var isDone = false
    private var isInputClosed = false
    /// Whether somebody else tells the gate when the connection is closed.
    private var isHandedOver = false
    private var context: ChannelHandlerContext?
    /// The head of a request that came behind others; nil: the first one is still to come.
    private let laterHead: RequestHead?

    /// - Parameters:
    ///   - admissions: where requests wait for their turn; nil: they do not.
    ///   - refusal: what every request is answered with: there are too many connections.
    ///   - laterHead: the head of a request that came behind others on its connection, for ``resume()``.
    init(
        routes: HandshakeRoutes, limits: TransportLimits, admissions: AdmissionQueue? = nil,
        refusal: HandshakeRefusal? = nil, laterHead: RequestHead? = nil
    ) {
        self.routes = routes
        held = HeldMemory(routes.memory, of: .stranger)
        self.limits = limits
        self.admissions = admissions
        self.refusal = refusal
        self.laterHead = laterHead
        isDone = laterHead != nil
        isHandedOver = laterHead != nil
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let gate = routes.gate
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: limits.handshakeTimeout) { [self] in
            // One that was refused is only slow to go.
            if !isDone { gate.noteHandshakeTimeout() }
            context.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        self.context = nil
        _ = held.set(0)
        if !isHandedOver { routes.gate.leave() }
    }

    /// The channel is closed, and this handler is removed somewhat later: its turn, or the answer to its credentials, may come in between.
    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        // Behind a whole request, what comes is for whoever takes over; while that is being decided, only so much.
        if isDone, buffer.readableBytes > 4 * limits.maximumHeadSize { return context.close(promise: nil) }
        buffer.writeBuffer(&bytes)
        guard held.set(buffer.storageCapacity) else { return refuse(context, .busy) }
        guard !isDone else { return }
        // A method is of letters. What else comes here first is TLS, most often, and would wait for an answer to it.
        if let first = buffer.readableBytesView.first, !(UInt8(ascii: "A")...UInt8(ascii: "Z") ~= first) {
            return refuse(context, .notHTTP)
        }
        guard let length = headLength() else {
            if buffer.readableBytes > limits.maximumHeadSize { refuse(context, .headTooLarge) }
            return
        }
        guard length <= limits.maximumHeadSize else { return refuse(context, .headTooLarge) }
        isDone = true
        if let admissions { admissions.enter(self) } else { admitted() }
    }

    /// Goes on with ``laterHead``, once nothing else is in the channel's pipeline.
    func resume() {
        if let admissions { admissions.enter(self) } else { admitted() }
    }

    /// It is this request's turn.
    func admitted() {
        guard let context else { return }
        if let laterHead {
            guard count(laterHead, context) else { return refuse(context, .tooManyFromAddress) }
            guard let upgrade = routes.upgrade(for: laterHead) else { return refuse(context, .badHead) }
            return shakeHands(laterHead, upgrade, context)
        }
        guard let length = headLength() else { return }
        let head = RequestHead(buffer.readableBytesView.prefix(length))
        if let refusal { return refuse(context, refusal) }
        guard count(head, context) else { return refuse(context, .tooManyFromAddress) }
        guard let head else { return refuse(context, .badHead) }
        guard let upgrade = routes.upgrade(for: head) else { return leaveToHTTP(context) }
        buffer.moveReaderIndex(forwardBy: length)
        shakeHands(head, upgrade, context)
    }

    private func shakeHands(_ head: RequestHead, _ upgrade: Upgrade, _ context: ChannelHandlerContext) {
        let acceptance: Handshake.Acceptance
        do throws(Handshake.Refusal) {
            acceptance = try routes.handshake.accept(head, speaking: upgrade.subprotocols)
        } catch {
            return refuse(context, error.response)
        }
        guard let credential = Self.credential(of: head) else {
            return finish(.success(routes.authority.anonymous), upgrade, acceptance)
        }
        let answer = NIOLoopBound(
            { [self] (result: Result<Grant, AccessRefusal>) in finish(result, upgrade, acceptance) },
            eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        routes.authority.check(credential) { result in
            if eventLoop.inEventLoop { answer.value(result) } else { eventLoop.execute { answer.value(result) } }
        }
    }

    /// It is known what the client may do.
    private func finish(
        _ result: Result<Grant, AccessRefusal>, _ upgrade: Upgrade, _ acceptance: Handshake.Acceptance
    ) {
        guard let context else { return }
        // The rules may have changed since they were asked.
        var result = result
        if case .success(let grant) = result, let problem = routes.authority.problem(with: grant) {
            result = .failure(problem)
        }
        switch result {
        case .success(let grant):
            let rest = buffer
            buffer = ByteBuffer()
            let accepted = Upgrade.Accepted(
                response: ByteBuffer(string: acceptance.response), rest: rest, grant: grant,
                deflate: acceptance.deflate, gate: laterHead == nil ? routes.gate : nil)
            handOver(to: upgrade, accepted, context)
        case .failure(let refusal):
            switch refusal {
            case .invalid(let reason): refuse(context, .unauthorized(reason))
            case .busy: refuse(context, .busy)
            case .expired, .changed: refuse(context, .unauthorized("these credentials are no longer valid"))
            }
        }
    }

    private func handOver(to upgrade: Upgrade, _ accepted: Upgrade.Accepted, _ context: ChannelHandlerContext) {
        do {
            let successor = try upgrade.takeOver(accepted, context.channel)
            try context.pipeline.syncOperations.addHandler(successor.handler, position: .after(self))
            // It leaves the gate from now on.
            isHandedOver = true
            successor.start()
            // Said while it was not there to hear it; from here, since TLS would not let it pass a second time.
            if isInputClosed { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        } catch {
            context.close(promise: nil)
        }
    }

    private static func credential(of head: RequestHead) -> Credential? {
        if let header = head.values("authorization").lazy.compactMap(Credential.init(authorization:)).first {
            return header
        }
        return Handshake.credential(of: head).map(Credential.init)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            isInputClosed = true
            // Half a request will not become a whole one.
            if !isDone { context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    /// Counts a connection that comes by a trusted proxy by where that says it comes from. The others are counted already.
    ///
    /// - Returns: false when there are too many from there.
    private func count(_ head: RequestHead?, _ context: ChannelHandlerContext) -> Bool {
        let gate = routes.gate
        let peer = IPAddress(context.remoteAddress)
        guard gate.trusts(peer), let forwarded = head?.elements("x-forwarded-for"),
            let client = gate.client(of: peer, forwarded: forwarded), client != peer
        else { return true }
        return gate.enter(client, with: context.channel) == .welcome
    }

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

    private func refuse(_ context: ChannelHandlerContext, _ refusal: HandshakeRefusal) {
        if case .headTooLarge = refusal { routes.gate.noteLargeHead() }
        refuse(context, refusal.response)
    }

    private func refuse(_ context: ChannelHandlerContext, _ response: String) {
        isDone = true
        buffer = ByteBuffer()
        _ = held.set(0)
        routes.refusals?.note(response, from: context.remoteAddress)
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: response)), promise: nil)
        context.close(mode: .output, promise: nil)
        // The timer of the handshake closes what the client does not.
    }

    private func leaveToHTTP(_ context: ChannelHandlerContext) {
        timer?.cancel()
        let gate = routes.gate
        context.channel.closeFuture.whenComplete { _ in gate.leave() }
        isHandedOver = true
        do {
            let channel = context.channel
            try routes.takeHTTP(channel, { [routes] in routes.upgrade(for: $0) != nil }) {
                [routes, limits, admissions] head, isInputClosed, installed in
                let handshake = HandshakeHandler(
                    routes: routes, limits: limits, admissions: admissions, laterHead: head)
                handshake.isInputClosed = isInputClosed
                try channel.pipeline.syncOperations.addHandler(handshake)
                installed()
                handshake.resume()
            }
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
