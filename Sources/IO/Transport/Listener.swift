package import Loops
package import NIOCore
package import NIOPosix
import NIOSSL
package import WebSocket

/// Accepts connections, on the event loops of a group.
package enum Listener {
    /// Listens for clients of a server.
    ///
    /// - Parameters:
    ///   - drivers: one for each event loop of `group`.
    ///   - path: where the sync protocol is spoken.
    package static func bind(
        host: String, port: Int, group: MultiThreadedEventLoopGroup, drivers: [LoopDriver], path: String,
        routes: HandshakeRoutes, certificates: ServerCertificates? = nil
    ) async throws -> any Channel {
        let loops = Dictionary(
            uniqueKeysWithValues: drivers.map { (ObjectIdentifier($0.eventLoop), SocketLoop($0)) })
        let routes = routes.adding(sync(at: path, loops, isEncrypted: certificates != nil))
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
                routes: routes, limits: loop.driver.limits, admissions: loop.admissions, refusal: refusal)
            // From now on it is for this handler to leave the gate.
            try channel.pipeline.syncOperations.addHandler(handshake)
            if let certificates { try TLSClosing.addHandlers(to: channel, certificates.makeHandler()) }
        }.bind(host: host, port: port).get()
    }

    private static func sync(
        at path: String, _ loops: [ObjectIdentifier: SocketLoop], isEncrypted: Bool
    ) -> Upgrade {
        Upgrade(path: path, subprotocols: [Handshake.subprotocol]) { accepted, channel in
            guard let loop = loops[ObjectIdentifier(channel.eventLoop)] else { throw ChannelError.inputClosed }
            let transport = SocketTransport(
                loop: loop, gate: accepted.gate, deflate: accepted.deflate, isEncrypted: isEncrypted)
            return Upgrade.Successor(transport) {
                transport.open(response: accepted.response, rest: accepted.rest, grant: accepted.grant)
            }
        }
    }

    /// Listens for the clients of an echo server.
    package static func bindEcho(
        host: String, port: Int, group: MultiThreadedEventLoopGroup, limits: TransportLimits, path: String,
        compression: DeflateParameters.Policy = .off
    ) async throws -> any Channel {
        let echo = Upgrade(path: path, subprotocols: []) { accepted, _ in
            let handler = EchoHandler(limits: limits, gate: accepted.gate, deflate: accepted.deflate)
            return Upgrade.Successor(handler) { handler.open(response: accepted.response, rest: accepted.rest) }
        }
        let routes = HandshakeRoutes(upgrades: [echo], handshake: Handshake(compression: compression)) {
            channel, _, _ in channel.close(promise: nil)
        }
        return try await bootstrap(group) { channel in
            _ = routes.gate.enter()
            try channel.pipeline.syncOperations.addHandler(HandshakeHandler(routes: routes, limits: limits))
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
}
