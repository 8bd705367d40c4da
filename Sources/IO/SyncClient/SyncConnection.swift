package import NIOCore
import NIOPosix
import NIOSSL
import WebSocket

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
    ///   - body: is given the connection, and what the server sends; the stream ends with the connection.
    /// - Throws: ``ClientError`` when there is no connection to be had, and whatever `body` throws.
    package static func open<Result: Sendable>(
        _ url: String, token: String? = nil, roots: String? = nil, maximumMessageSize: Int = 64 << 20,
        _ body: @Sendable (SyncConnection, Messages) async throws -> Result
    ) async throws -> Result {
        let endpoint = try Endpoint(url)
        let opened = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
        let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>
        do {
            let context = endpoint.isSecure ? try Self.context(roots) : nil
            channel = try await connect(endpoint, token, context, maximumMessageSize, opened)
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
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            ClientError(.unavailable, "cannot connect to \(url): \(problem(inTLS: "\(error)"))")
        default: ClientError(.unavailable, "cannot connect to \(url): \(error). Is the server running?")
        }
    }

    /// What went wrong with a handshake, from the words of the TLS library, which has no codes for it.
    private static func problem(inTLS text: String) -> String {
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return "its certificate is not from a root that is trusted here, or has expired; --ca names a root to trust"
        }
        if text.contains("unableToValidateCertificate") || text.contains("failedToValidateHostname") {
            return "its certificate is for another host"
        }
        if text.contains("WRONG_VERSION_NUMBER") { return "it does not speak TLS; is it ws:// in place of wss://?" }
        return "the TLS handshake failed: \(text.prefix(200))"
    }

    private static func context(_ roots: String?) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let roots {
            do {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(roots))
            } catch {
                throw ClientError(.badURL, "cannot read \(roots) as PEM: \(error)")
            }
        }
        return try NIOSSLContext(configuration: configuration)
    }

    private static func connect(
        _ endpoint: Endpoint, _ token: String?, _ context: NIOSSLContext?, _ maximumMessageSize: Int,
        _ opened: EventLoopPromise<Void>
    ) async throws -> NIOAsyncChannel<ByteBuffer, ByteBuffer> {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: endpoint.host, port: endpoint.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        // A name is checked; an address cannot be sent as one (RFC 6066, section 3), but is checked too.
                        let name = (try? SocketAddress(ipAddress: endpoint.host, port: 0)) == nil ? endpoint.host : nil
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(context: context, serverHostname: name))
                    }
                    let handler = ClientChannelHandler(
                        endpoint: endpoint, token: token, maximumMessageSize: maximumMessageSize, opened: opened)
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
