package import NIOCore
import NIOPosix
import WebSocket

/// A connection to a server: text messages in, text messages out.
package struct SyncConnection: Sendable {
    package typealias Messages = NIOAsyncChannelInboundStream<ByteBuffer>

    private let writer: NIOAsyncChannelOutboundWriter<ByteBuffer>

    /// Connects, and closes when `body` is done.
    ///
    /// - Parameters:
    ///   - url: the server's, such as `ws://127.0.0.1:7827/sync`.
    ///   - body: is given the connection, and what the server sends; the stream ends with the connection.
    /// - Throws: ``ClientError`` when there is no connection to be had, and whatever `body` throws.
    package static func open<Result: Sendable>(
        _ url: String, maximumMessageSize: Int = 64 << 20,
        _ body: @Sendable (SyncConnection, Messages) async throws -> Result
    ) async throws -> Result {
        let endpoint = try Endpoint(url)
        let opened = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
        do {
            channel = try await connect(endpoint, maximumMessageSize, opened)
        } catch {
            opened.fail(error)
            throw Self.unavailable(url, error)
        }
        return try await channel.executeThenClose { inbound, outbound in
            do {
                try await opened.futureResult.get()
            } catch {
                throw Self.unavailable(url, error)
            }
            return try await body(SyncConnection(writer: outbound), inbound)
        }
    }

    private static func unavailable(_ url: String, _ error: any Error) -> ClientError {
        switch error {
        case let error as ClientError: ClientError(error.code, "cannot connect to \(url): \(error.description)")
        case let error as NIOConnectionError:
            ClientError(
                .unavailable,
                "cannot connect to \(url): \(error.connectionErrors.first.map { "\($0.error)" } ?? "\(error)"). "
                    + "Is the server running?")
        default: ClientError(.unavailable, "cannot connect to \(url): \(error). Is the server running?")
        }
    }

    private static func connect(
        _ endpoint: Endpoint, _ maximumMessageSize: Int, _ opened: EventLoopPromise<Void>
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: endpoint.host, port: endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = ClientChannelHandler(
                        endpoint: endpoint, maximumMessageSize: maximumMessageSize, opened: opened)
                    try channel.pipeline.syncOperations.addHandler(handler)
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
