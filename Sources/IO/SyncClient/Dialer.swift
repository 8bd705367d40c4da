import Foundation
package import NIOCore
import NIOPosix
import NIOSSL

/// Opens connections to one server.
package struct Dialer: Sendable {
    let endpoint: Endpoint
    private let url: String
    private let token: String?
    private let context: NIOSSLContext?
    private let maximumMessageSize: Int

    /// - Parameters:
    ///   - url: the server's, such as `ws://127.0.0.1:7827/sync`.
    ///   - token: the credentials to show.
    ///   - roots: a file of roots (PEM) that the server's certificate may come from; nil: those of this machine.
    ///   - identity: the client's own certificate; nil: none is shown.
    /// - Throws: ``ClientError`` when the URL is none, or the roots cannot be read.
    package init(
        _ url: String, token: String? = nil, roots: String? = nil, identity: Identity? = nil,
        maximumMessageSize: Int = 64 << 20
    ) throws {
        endpoint = try Endpoint(url)
        self.url = url
        self.token = token
        self.maximumMessageSize = maximumMessageSize
        context = endpoint.isSecure ? try Self.context(roots, identity) : nil
    }

    /// What a client proves who it is by, where a server wants that: files in PEM.
    package struct Identity: Sendable {
        let certificates: String
        let key: String

        package init(certificates: String, key: String) {
            self.certificates = certificates
            self.key = key
        }
    }

    private static func context(_ roots: String?, _ identity: Identity?) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let roots {
            do {
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(roots))
            } catch {
                throw ClientError(.badURL, "cannot read \(roots) as PEM: \(error)")
            }
        }
        if let identity {
            do {
                configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(identity.certificates)
                    .map { .certificate($0) }
                configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: identity.key, format: .pem))
            } catch {
                throw ClientError(.badURL, "cannot read \(identity.certificates) and \(identity.key) as PEM: \(error)")
            }
        }
        return try NIOSSLContext(configuration: configuration)
    }

    /// Connects, and adds a handler behind those that make a WebSocket of the channel: it reads and writes messages, each a
    /// `ByteBuffer`.
    ///
    /// - Parameter opened: is completed when the handshake is.
    /// - Returns: a future of the connected channel, whose handshake is under way.
    package func dial(
        on eventLoop: any EventLoop, opened: EventLoopPromise<Void>,
        _ handler: @escaping @Sendable () -> any ChannelHandler
    ) -> EventLoopFuture<any Channel> {
        ClientBootstrap(group: eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try addHandlers(to: channel, opened: opened)
                    try channel.pipeline.syncOperations.addHandler(handler())
                }
            }
            .connect(host: endpoint.host, port: endpoint.port)
    }

    /// Whether something listens there.
    package func isReachable() async -> Bool {
        let channel = try? await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connectTimeout(.seconds(2)).connect(host: endpoint.host, port: endpoint.port).get()
        try? await channel?.close()
        return channel != nil
    }

    /// Encrypts a channel, where the URL says so.
    func addTLS(to channel: any Channel) throws {
        if let context {
            // A name is checked; an address cannot be sent as one (RFC 6066, section 3), but is checked too.
            let name = (try? SocketAddress(ipAddress: endpoint.host, port: 0)) == nil ? endpoint.host : nil
            try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
        }
    }

    /// Makes a WebSocket of a channel.
    func addHandlers(to channel: any Channel, opened: EventLoopPromise<Void>) throws {
        try addTLS(to: channel)
        try channel.pipeline.syncOperations.addHandler(
            ClientChannelHandler(
                endpoint: endpoint, token: token, maximumMessageSize: maximumMessageSize, opened: opened))
    }

    /// What went wrong, in words that say what to do.
    package func unavailable(_ error: any Error) -> ClientError {
        switch error {
        case let error as ClientError: ClientError(error.code, "cannot connect to \(url): \(error.description)")
        case let error as NIOConnectionError:
            ClientError(
                .unavailable,
                "cannot connect to \(url): \(Self.reason(error)). "
                    + "Is the server running?")
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            Self.problem(inTLS: "\(error)").map { ClientError(.untrusted, "cannot connect to \(url): \($0)") }
                ?? ClientError(
                    .unavailable, "cannot connect to \(url): the TLS handshake failed: \("\(error)".prefix(200))")
        default: ClientError(.unavailable, "cannot connect to \(url): \(error). Is the server running?")
        }
    }

    private static func reason(_ error: NIOConnectionError) -> String {
        switch error.connectionErrors.first?.error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case let error?: "\(error)"
        case nil: error.dnsAError != nil || error.dnsAAAAError != nil ? "there is no host \(error.host)" : "\(error)"
        }
    }

    /// What went wrong with a handshake, from the words of the TLS library, which has no codes for it.
    private static func problem(inTLS text: String) -> String? {
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return "its certificate is not from a root that is trusted here, or has expired; --ca names a root to trust"
        }
        if text.contains("unableToValidateCertificate") || text.contains("failedToValidateHostname") {
            return "its certificate is for another host"
        }
        if text.contains("WRONG_VERSION_NUMBER") { return "it does not speak TLS; is it ws:// in place of wss://?" }
        return nil
    }
}
