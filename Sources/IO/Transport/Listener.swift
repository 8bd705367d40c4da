package import Loops
package import NIOCore
package import NIOPosix
import NIOSSL
package import WebSocket

/// Accepts connections, on the event loops of a group.
package enum Listener {
    /// Listens for clients of a server.
    ///
    /// - Parameter drivers: one for each event loop of `group`.
    package static func bind(
        host: String, port: Int, group: MultiThreadedEventLoopGroup, drivers: [LoopDriver], routes: HandshakeRoutes,
        certificates: ServerCertificates? = nil
    ) async throws -> any Channel {
        let loops = Dictionary(
            uniqueKeysWithValues: drivers.map { (ObjectIdentifier($0.eventLoop), SocketLoop($0)) })
        return try await bootstrap(group) { channel in
            guard let loop = loops[ObjectIdentifier(channel.eventLoop)] else {
                throw ChannelError.inputClosed
            }
            let gate = routes.gate
            let inAll = gate.enter()
            // One that comes by a trusted proxy is counted when that has said from where.
            let address = gate.countsAddresses ? IPAddress(channel.remoteAddress) : nil
            let peer = address.flatMap { gate.trusts($0) ? nil : $0 }
            let fromPeer = peer.map { gate.enter($0, with: channel) } ?? .welcome
            if inAll == .overrun || fromPeer == .overrun {
                gate.leave()
                return channel.close(promise: nil)
            }
            let refusal: HandshakeRefusal? =
                inAll == .full ? .tooManyConnections : fromPeer == .full ? .tooManyFromAddress : nil
            let handshake = HandshakeHandler(
                routes: routes, limits: loop.driver.limits, admissions: loop.admissions, refusal: refusal
            ) { handshake, context, upgrade in
                let transport = SocketTransport(
                    loop: loop, gate: upgrade.gate, deflate: upgrade.deflate, isEncrypted: certificates != nil)
                replace(handshake, by: transport, context) {
                    transport.open(response: upgrade.response, rest: upgrade.rest, grant: upgrade.grant)
                }
            }
            // From now on it is for this handler to leave the gate.
            try channel.pipeline.syncOperations.addHandler(handshake)
            if let certificates { try TLSClosing.addHandlers(to: channel, certificates.makeHandler()) }
        }.bind(host: host, port: port).get()
    }

    /// Listens for the clients of an echo server.
    package static func bindEcho(
        host: String, port: Int, group: MultiThreadedEventLoopGroup, limits: TransportLimits, path: String,
        compression: DeflateParameters.Policy = .off
    ) async throws -> any Channel {
        let routes = HandshakeRoutes(webSocketPath: path, handshake: Handshake(compression: compression)) {
            channel, _ in
            channel.close(promise: nil)
        }
        return try await bootstrap(group) { channel in
            _ = routes.gate.enter()
            let handshake = HandshakeHandler(routes: routes, limits: limits) { handshake, context, upgrade in
                let handler = EchoHandler(limits: limits, gate: upgrade.gate, deflate: upgrade.deflate)
                replace(handshake, by: handler, context) {
                    handler.open(response: upgrade.response, rest: upgrade.rest)
                }
            }
            try channel.pipeline.syncOperations.addHandler(handshake)
        }.bind(host: host, port: port).get()
    }

    /// How much the kernel queues for a socket beyond what is on its way: what waits here can be dropped for a slow
    /// reader, what waits there cannot, and would have to be read before anything newer.
    private static let unsentBytes = SocketOptionValue(128 * 1024)
    #if canImport(Glibc)
        private static let unsentLowWaterMark = NIOBSDSocket.Option(rawValue: 25)
    #else
        private static let unsentLowWaterMark = NIOBSDSocket.Option(rawValue: 0x201)
    #endif

    private static func bootstrap(
        _ group: MultiThreadedEventLoopGroup, _ initialize: @escaping @Sendable (any Channel) throws -> Void
    ) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.maxMessagesPerRead, value: 4)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(AcceptPause()) }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.tcpOption(unsentLowWaterMark), value: unsentBytes)
            // One read for each time that the kernel says there is something: the next ones have their turn, and no channel
            // keeps more than the one buffer that comes first.
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: ReceiveBuffers())
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try initialize(channel) }
            }
    }

    private static func replace(
        _ handshake: HandshakeHandler, by handler: some ChannelHandler, _ context: ChannelHandlerContext,
        then body: () -> Void
    ) {
        do {
            try context.pipeline.syncOperations.addHandler(handler, position: .after(handshake))
            handshake.handOver()
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
            body()
        } catch {
            context.close(promise: nil)
        }
    }
}
