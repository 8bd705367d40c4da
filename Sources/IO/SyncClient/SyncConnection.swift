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
        let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
        do {
            channel = try await connect(endpoint, maximumMessageSize)
        } catch let error as ClientError {
            throw ClientError(error.code, "cannot connect to \(url): \(error.description)")
        } catch let error as NIOConnectionError {
            let cause = error.connectionErrors.first.map { "\($0.error)" } ?? "\(error)"
            throw ClientError(.unavailable, "cannot connect to \(url): \(cause). Is the server running?")
        } catch {
            throw ClientError(.unavailable, "cannot connect to \(url): \(error). Is the server running?")
        }
        return try await channel.executeThenClose { inbound, outbound in
            try await body(SyncConnection(writer: outbound), inbound)
        }
    }

    private static func connect(
        _ endpoint: Endpoint, _ maximumMessageSize: Int
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        let group = MultiThreadedEventLoopGroup.singleton
        let opened = group.next().makePromise(of: Void.self)
        do {
            let channel = try await ClientBootstrap(group: group)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connect(host: endpoint.host, port: endpoint.port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = ClientChannelHandler(
                            endpoint: endpoint, maximumMessageSize: maximumMessageSize, opened: opened)
                        try channel.pipeline.syncOperations.addHandler(handler)
                        return try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                    }
                }
            try await opened.futureResult.get()
            return channel
        } catch {
            opened.fail(error)
            throw error
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
