package import NIOCore
import NIOPosix

/// A connection to a server: text messages in, text messages out.
package struct SyncConnection: Sendable {
    package typealias Messages = NIOAsyncChannelInboundStream<ByteBuffer>

    private let writer: NIOAsyncChannelOutboundWriter<ByteBuffer>

    /// Connects, and closes when `body` is done.
    ///
    /// - Parameters:
    ///   - url: the server's, such as `ws://127.0.0.1:7827/sync`.
    ///   - token: the credentials to show.
    ///   - roots: a file of roots (PEM) that the server's certificate may come from; nil: those of this machine.
    ///   - identity: the client's own certificate; nil: none is shown.
    ///   - body: is given the connection, and what the server sends; the stream ends with the connection.
    /// - Throws: ``ClientError`` when there is no connection to be had, and whatever `body` throws.
    package static func open<Result: Sendable>(
        _ url: String, token: String? = nil, roots: String? = nil, identity: Dialer.Identity? = nil,
        maximumMessageSize: Int = 64 << 20,
        _ body: @Sendable (SyncConnection, Messages) async throws -> Result
    ) async throws -> Result {
        let dialer = try Dialer(
            url, token: token, roots: roots, identity: identity, maximumMessageSize: maximumMessageSize)
        let opened = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
        do {
            channel = try await connect(dialer, opened)
        } catch {
            opened.fail(error)
            throw dialer.unavailable(error)
        }
        return try await channel.executeThenClose { inbound, outbound in
            do {
                try await opened.futureResult.get()
            } catch {
                throw dialer.unavailable(error)
            }
            return try await body(SyncConnection(writer: outbound), inbound)
        }
    }

    private static func connect(
        _ dialer: Dialer, _ opened: EventLoopPromise<Void>
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: dialer.endpoint.host, port: dialer.endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try dialer.addHandlers(to: channel, opened: opened)
                    return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
    }

    /// Sends one message.
    package func send(_ json: String) async throws {
        try await writer.write(ByteBuffer(string: json))
    }

    /// Sends several messages at once.
    package func send(_ messages: [String]) async throws {
        try await writer.write(contentsOf: messages.map { ByteBuffer(string: $0) })
    }
}
