import HTTPTypes
import Hummingbird
import Loops
import NIOCore
import NIOHTTP1
import NIOHTTPTypesHTTP1
import SyncProtocol
import WebSocket

/// The requests of one connection, one after the other: each is collected, answered, and followed by the next. A handshake ends
/// that, at whatever place it comes: proxies that keep connections send it behind other requests.
final class HTTPExchangeHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart
    typealias Responder = @Sendable (Request, any Channel) async -> Response

    private enum State {
        /// Between two requests.
        case idle
        /// The body is held where a route wants one; elsewhere it is counted, and let go.
        case receiving(HTTPRequestHead, body: ByteBuffer, size: Int)
        /// A request is being answered; what comes behind it waits.
        case responding(Task<Void, Never>, keepsAlive: Bool)
        /// No request is read any more.
        case ended
    }

    /// How long a connection may be idle, how long a request may take to come, and its answer to be taken.
    private static let timeout = TimeAmount.seconds(60)
    /// How many parts of requests may wait behind the one that is being answered.
    private static let maximumQueued = 8_192
    /// How long to wait for the client to close its side, once ours is closed.
    private static let lingerTimeout = TimeAmount.seconds(2)

    private let isUpgrade: (RequestHead) -> Bool
    private let bodies: HTTPBodies
    private let activity: HTTPActivity
    private var held: HeldMemory
    private let respond: Responder
    /// Told that the caller sends nothing more, while it is being answered.
    private let inputClosed: @Sendable () -> Void
    private let shakeHands: (RequestHead, HTTPExchangeHandler) throws -> Void
    private var state = State.idle
    /// What has come behind the request that is being answered: what one read brought, since there is no other until then, or else all until
    /// the end.
    private var queued = CircularBuffer<HTTPServerRequestPart>()
    private var hasHeldRead = false
    private(set) var isInputClosed = false
    private var timer: Scheduled<Void>?
    private var context: ChannelHandlerContext?

    init(
        isUpgrade: @escaping (RequestHead) -> Bool, bodies: HTTPBodies, activity: HTTPActivity,
        respond: @escaping Responder, inputClosed: @escaping @Sendable () -> Void,
        shakeHands: @escaping (RequestHead, HTTPExchangeHandler) throws -> Void
    ) {
        self.isUpgrade = isUpgrade
        self.bodies = bodies
        self.activity = activity
        held = bodies.held
        self.respond = respond
        self.inputClosed = inputClosed
        self.shakeHands = shakeHands
    }

    // MARK: Life

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        restartTimer()
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func end() {
        timer?.cancel()
        if case .responding(let task, _) = state { task.cancel() }
        state = .ended
        queued.removeAll()
        _ = held.set(0)
        context = nil
    }

    private func restartTimer(_ timeout: TimeAmount = timeout) {
        timer?.cancel()
        timer = context?.eventLoop.assumeIsolated().scheduleTask(in: timeout) { [self] in
            context?.close(promise: nil)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            isInputClosed = true
            // What was asked is still answered.
            if case .responding = state { inputClosed() } else { context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch state {
        case .idle where error is HTTPParserError, .receiving where error is HTTPParserError:
            refuse(.badRequest, "this is no request by HTTP/1.1: \(error)")
        case .responding(let task, _) where error is HTTPParserError:
            // What was asked before is still answered.
            state = .responding(task, keepsAlive: false)
        case .idle, .receiving, .responding, .ended: context.close(promise: nil)
        }
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // A client that sends no more is read to its end, whoever asked for that.
        guard queued.count < Self.maximumQueued else { return context.close(promise: nil) }
        queued.append(unwrapInboundIn(data))
        takeQueued()
    }

    /// Asked by the channel before it reads: not while a request is being answered.
    func read(context: ChannelHandlerContext) {
        if case .responding = state {
            hasHeldRead = true
        } else {
            context.read()
        }
    }

    private func takeQueued() {
        while let part = queued.first {
            switch (state, part) {
            case (.responding, _): return
            case (.idle, .head(let head)): begin(head)
            case (.receiving(let head, let body, let size), .body(let bytes)):
                guard receive(bytes, of: head, behind: body, size) else { return }
            case (.receiving(let head, let body, _), .end): received(head, body)
            // Of a request that was refused.
            case (.ended, _), (.idle, .body), (.idle, .end), (.receiving, .head): break
            }
            if !queued.isEmpty { queued.removeFirst() }
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        restartTimer()
        var head = head
        let request = RequestHead(head)
        if let problem = request.ambiguity { return refuse(.badRequest, problem) }
        // Where the target is a whole URL, its host counts, here as for handshakes.
        if request.target != head.uri {
            head.uri = request.target
            head.headers.replaceOrAdd(name: "host", value: request.values("host").first ?? "")
        }
        let length = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        guard length <= bodies.maximumSize(of: head) else { return refuseBody(head) }
        state = .receiving(head, body: ByteBuffer(), size: 0)
        meet(head)
        if (head.version.major, head.version.minor) >= (1, 1),
            head.headers[canonicalForm: "expect"].contains(where: { $0.lowercased() == "100-continue" })
        {
            context?.writeAndFlush(
                wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
        }
    }

    /// What a request brings counts as a stranger's until its credentials are known to be good.
    private func meet(_ head: HTTPRequestHead) {
        guard let eventLoop = context?.eventLoop else { return }
        let known = NIOLoopBound({ [self] in held.belong(to: .known) }, eventLoop: eventLoop)
        bodies.meet(head) {
            if eventLoop.inEventLoop { known.value() } else { eventLoop.execute { known.value() } }
        }
    }

    /// - Returns: false where that is too much.
    private func receive(
        _ bytes: ByteBuffer, of head: HTTPRequestHead, behind body: ByteBuffer, _ size: Int
    ) -> Bool {
        let size = size + bytes.readableBytes
        guard size <= bodies.maximumSize(of: head) else {
            refuseBody(head)
            return false
        }
        guard bodies.isHeld(of: head) else {
            state = .receiving(head, body: body, size: size)
            return true
        }
        var body = body
        // Else it would be copied to grow.
        state = .idle
        body.writeImmutableBuffer(bytes)
        state = .receiving(head, body: body, size: size)
        if held.set(body.storageCapacity) { return true }
        bodies.memory.noteRefusal()
        if let fallback = bodies.fallback(of: head) {
            answer(fallback, .overloaded)
            return false
        }
        refuse(.serviceUnavailable, "too much is held of requests that are not whole; send this one again", .overloaded)
        return false
    }

    private func refuseBody(_ head: HTTPRequestHead) {
        if let fallback = bodies.fallback(of: head) { return answer(fallback, .tooLarge) }
        let text = "a request's body is at most \(bodies.maximumSize(of: head)) bytes here"
        refuse(.payloadTooLarge, text, bodies.isHeld(of: head) ? .tooLarge : nil)
    }

    private func received(_ head: HTTPRequestHead, _ body: ByteBuffer) {
        guard let context else { return }
        restartTimer()
        let request = RequestHead(head)
        if isUpgrade(request) {
            state = .ended
            timer?.cancel()
            let channel = context.channel
            do {
                try shakeHands(request, self)
                // What the channel asked for while this was not to be read.
                if hasHeldRead { channel.read() }
            } catch {
                channel.close(promise: nil)
            }
            return
        }
        let isOtherProtocol = head.method == .CONNECT || head.headers.contains(name: "upgrade")
        guard head.method != .CONNECT, let converted = try? HTTPRequest(head, secure: false, splitCookie: false) else {
            return refuse(.badRequest, "this is no proxy")
        }
        // The decoder reads no further behind a request for another protocol: that is not spoken, and the connection ends with it.
        let keepsAlive = head.isKeepAlive && !isOtherProtocol
        let exchange = Exchange(
            channel: context.channel, request: Request(head: converted, body: RequestBody(buffer: body)),
            respond: respond,
            keepsAlive: keepsAlive)
        let done = NIOLoopBound({ [self] (isWhole: Bool) in responded(isWhole: isWhole) }, eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        activity.began()
        let task = Task { [activity] in
            let isWhole = await exchange.run()
            activity.ended()
            eventLoop.execute { done.value(isWhole) }
        }
        state = .responding(task, keepsAlive: keepsAlive)
    }

    // MARK: Out

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // A stream goes on for as long as what is written is taken.
        if case .responding = state { restartTimer() }
        context.write(data, promise: promise)
    }

    /// A response was written.
    private func responded(isWhole: Bool) {
        guard let context, case .responding(_, let keepsAlive) = state else { return }
        _ = held.set(0)
        guard isWhole else { return context.close(promise: nil) }
        guard keepsAlive else { return finish() }
        state = .idle
        restartTimer()
        takeQueued()
        switch state {
        case .responding, .ended: return
        case .idle, .receiving: if isInputClosed { return finish() }
        }
        if hasHeldRead {
            hasHeldRead = false
            self.context?.read()
        }
    }

    /// - Parameter code: makes problem details of it, as the routes of the protocol have them.
    private func refuse(_ status: HTTPResponseStatus, _ text: String, _ code: ErrorCode? = nil) {
        var body = ByteBuffer(string: text + "\n")
        var headers: HTTPHeaders = ["content-type": "text/plain; charset=utf-8", "connection": "close"]
        if let code {
            let problem = Problem(code, text)
            body = problem.body
            headers = HTTPHeaders(problem.headers)
            headers.add(name: "connection", value: "close")
        }
        answer(status, headers, body)
    }

    private func answer(_ fallback: Route.Fallback, _ code: ErrorCode) {
        fallback.note(code.rawValue)
        let headers = HTTPHeaders([
            ("content-type", "application/json"), ("connection", "close"), (fallback.header, code.rawValue),
        ])
        answer(.ok, headers, ByteBuffer(string: fallback.body))
    }

    /// Answers without a route, and ends the connection.
    private func answer(_ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ body: ByteBuffer) {
        var headers = headers
        headers.add(name: "content-length", value: "\(body.readableBytes)")
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context?.write(wrapOutboundOut(.head(head)), promise: nil)
        context?.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        context?.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        finish()
    }

    /// No more is read or written. The client closes its side: to close both at once would throw away what is on its way to it.
    private func finish() {
        state = .ended
        queued.removeAll()
        _ = held.set(0)
        if isInputClosed {
            context?.close(promise: nil)
        } else {
            context?.close(mode: .output, promise: nil)
            restartTimer(Self.lingerTimeout)
        }
    }
}

/// One request and its response, beside the event loop.
private struct Exchange: Sendable {
    let channel: any Channel
    let request: Request
    let respond: HTTPExchangeHandler.Responder
    let keepsAlive: Bool

    /// - Returns: whether the whole response was written.
    func run() async -> Bool {
        var response = await respond(request, channel)
        if !keepsAlive { response.headers[.connection] = "close" }
        let head = HTTPResponseHead(response.head)
        do {
            // What is all there goes out at once; of what is made bit by bit, each bit does, and waits for the socket.
            let isStream = response.body.contentLength == nil
            try await channel.write(HTTPServerResponsePart.head(head), flushing: isStream)
            if request.method == .head {
                try await channel.write(HTTPServerResponsePart.end(nil), flushing: true)
            } else {
                try await response.body.write(Writer(channel: channel, isStream: isStream))
            }
            return true
        } catch {
            return false
        }
    }

    private struct Writer: ResponseBodyWriter {
        let channel: any Channel
        let isStream: Bool

        func write(_ buffer: ByteBuffer) async throws {
            try await channel.write(HTTPServerResponsePart.body(.byteBuffer(buffer)), flushing: isStream)
        }

        consuming func finish(_ trailingHeaders: HTTPFields?) async throws {
            try await channel.writeAndFlush(HTTPServerResponsePart.end(trailingHeaders.map { HTTPHeaders($0) }))
        }
    }
}

extension Channel {
    /// Waits for what is flushed only: what is not would never be written.
    fileprivate func write(_ part: HTTPServerResponsePart, flushing: Bool) async throws {
        if flushing {
            try await writeAndFlush(part)
        } else {
            write(part, promise: nil)
        }
    }
}

extension RequestHead {
    fileprivate init(_ head: HTTPRequestHead) {
        self.init(
            method: head.method.rawValue, target: head.uri,
            version: (major: head.version.major, minor: head.version.minor),
            headers: head.headers.map { (name: $0.name.lowercased(), value: $0.value) })
    }
}
