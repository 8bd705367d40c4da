package import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// One request over HTTP to a server, and its response.
package struct HTTPPost: Sendable {
    package struct Response: Sendable {
        package let status: Int
        /// Names in small letters.
        package let headers: [(name: String, value: String)]
        package let body: [UInt8]

        package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
    }

    /// The greatest size of a response, in bytes.
    private static let maximumSize = 1 << 20

    private let dialer: Dialer
    private let path: String
    private let headers: [(name: String, value: String)]

    /// - Parameters:
    ///   - dialer: opens the connection.
    ///   - path: with the query, in the place of the one that is in the dialer's URL.
    package init(_ dialer: Dialer, path: String, headers: [(name: String, value: String)]) {
        self.dialer = dialer
        self.path = path
        self.headers = headers
    }

    /// Sends a body, and waits for the response.
    ///
    /// - Throws: ``ClientError`` where there is none in time.
    package func send(_ body: [UInt8], within patience: TimeAmount) async throws -> Response {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let response = eventLoop.makePromise(of: Response.self)
        let dialer = dialer
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(patience)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try dialer.addTLS(to: channel)
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(ResponseHandler(response))
                }
            }
        let timer = eventLoop.scheduleTask(in: patience) {
            response.fail(ClientError(.unavailable, "there was no answer in time"))
        }
        bootstrap.connect(host: dialer.endpoint.host, port: dialer.endpoint.port).whenComplete { [self] result in
            switch result {
            case .failure(let error): response.fail(error)
            case .success(let channel):
                write(body, to: channel)
                response.futureResult.whenComplete { _ in channel.close(promise: nil) }
            }
        }
        defer { timer.cancel() }
        do {
            return try await response.futureResult.get()
        } catch {
            throw error as? ClientError ?? dialer.unavailable(error)
        }
    }

    private func write(_ body: [UInt8], to channel: any Channel) {
        var fields = HTTPHeaders(headers.map { ($0.name, $0.value) })
        fields.add(name: "Host", value: dialer.endpoint.authority)
        fields.add(name: "Content-Length", value: "\(body.count)")
        fields.add(name: "Connection", value: "close")
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: path, headers: fields)
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    /// Collects a response.
    private final class ResponseHandler: ChannelInboundHandler {
        typealias InboundIn = HTTPClientResponsePart

        private let response: EventLoopPromise<Response>
        private var head: HTTPResponseHead?
        private var body: [UInt8] = []

        init(_ response: EventLoopPromise<Response>) { self.response = response }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): self.head = head
            case .body(let bytes):
                body += bytes.readableBytesView
                if body.count > HTTPPost.maximumSize {
                    response.fail(ClientError(.protocolViolation, "the answer is too long"))
                }
            case .end:
                guard let head else { return }
                let fields = head.headers.map { (name: $0.name.lowercased(), value: $0.value) }
                response.succeed(Response(status: Int(head.status.code), headers: fields, body: body))
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            response.fail(error)
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            response.fail(ClientError(.unavailable, "the connection ended before the answer"))
        }
    }
}
