import Access
import HTTPTypes
import Hummingbird
import Logging
import Loops
import NIOCore
import NIOHTTP1
import WebSocket

/// Serves HTTP on channels whose first request was for no WebSocket, by Hummingbird's router.
struct HTTPService: Sendable {
    private static let decoderLimits: NIOHTTPDecoderLimitConfiguration = {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 16_384
        limits.maxHeaderListSize = 65_536
        limits.maxHeaderFieldCount = 100
        return limits
    }()

    private let respond: @Sendable (Request, any Channel, HTTPSession) async -> Response
    private let connections: InProcessConnections
    private let bodies: HTTPBodies
    private let rate: RateLimit.Limits?
    private let activity: HTTPActivity

    init(
        apis: [any API], routes: RouteTable, policy: RequestPolicy, connections: InProcessConnections,
        bodies: HTTPBodies,
        rate: RateLimit.Limits?, activity: HTTPActivity, logger: Logger
    ) {
        self.connections = connections
        self.rate = rate
        self.activity = activity
        self.bodies = bodies
        let router = Router(context: HTTPContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: RequestCheck(policy: policy, routes: routes))
        for api in apis { api.add(to: router) }
        let responder = router.buildResponder()
        respond = { request, channel, session in
            var context = HTTPContext(source: .init(channel: channel, logger: logger))
            context.session = session
            do {
                let response = try await responder.respond(to: request, context: context)
                // The router says no more than that.
                let isUnknown = response.status == .notFound && response.headers[.contentType] == nil
                guard isUnknown else { return response }
                return Problem(.notFound, "no_route", "there is no \(request.uri.path); see /openapi.json").response
            } catch let error as any HTTPResponseError {
                if let response = try? error.response(from: request, context: context) { return response }
            } catch {
                logger.error("HTTP route failed", metadata: ["error": "\(error)", "path": "\(request.uri.path)"])
            }
            return Response(status: .internalServerError)
        }
    }

    /// Adds the handlers to a channel; on its event loop.
    ///
    /// - Parameters:
    ///   - isUpgrade: says which requests are handshakes, at whatever place they come on a connection.
    ///   - shakeHands: takes the channel over with the head of such a request. What is behind it is read from the pipeline.
    func take(
        _ channel: any Channel, isUpgrade: @escaping (RequestHead) -> Bool,
        shakeHands: @escaping (RequestHead, _ isInputClosed: Bool, _ installed: @escaping () -> Void) throws -> Void
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        let decoder = ByteToMessageHandler(
            HTTPRequestDecoder(
                leftOverBytesStrategy: .forwardBytes, informationalResponseStrategy: .drop,
                limitConfiguration: Self.decoderLimits))
        let encoder = HTTPResponseEncoder()
        let session = HTTPSession(connections, on: channel.eventLoop, rate: rate)
        channel.closeFuture.whenComplete { _ in session.close() }
        let exchange = HTTPExchangeHandler(
            isUpgrade: isUpgrade, bodies: bodies, activity: activity,
            respond: { [respond] in await respond($0, $1, session) }, inputClosed: { session.inputClosed() }
        ) { head, exchange in
            session.close()
            try shakeHands(head, exchange.isInputClosed) {
                // What the decoder has left goes to who has taken over.
                pipeline.removeHandler(exchange, promise: nil)
                pipeline.removeHandler(encoder, promise: nil)
                pipeline.removeHandler(decoder, promise: nil)
            }
        }
        try pipeline.addHandlers([decoder, encoder, exchange])
    }
}

/// What a route knows of a request's connection.
struct HTTPContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// Where the request came from.
    let remoteAddress: SocketAddress?
    /// What the request's connection is to a shard.
    var session: HTTPSession {
        get {
            guard let found else { preconditionFailure("a request comes with the session of its connection") }
            return found
        }
        set { found = newValue }
    }

    private var found: HTTPSession?

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        remoteAddress = source.channel.remoteAddress
    }
}
