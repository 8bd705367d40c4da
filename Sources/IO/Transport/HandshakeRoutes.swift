package import Access
package import Loops
package import NIOCore
package import WebSocket

/// Where requests go.
package struct HandshakeRoutes: Sendable {
    /// The path of the WebSocket.
    package var webSocketPath: String
    package var handshake: Handshake
    /// Takes a channel over from the head of the request that it is given; when it can, it calls what it is given with that, which
    /// takes the handlers out that have been there.
    package typealias ShakeHands = (_ head: RequestHead, _ installed: () -> Void) throws -> Void
    /// Adds the handlers of HTTP to a channel's pipeline; on the channel's event loop. They call `ShakeHands` when a request
    /// is for ``webSocketPath``.
    package var takeHTTP: @Sendable (any Channel, @escaping ShakeHands) throws -> Void
    /// Says what credentials are worth.
    package var authority: any Authority
    package var gate: ConnectionGate
    /// What all connections hold of requests and messages that are not whole yet.
    package var memory: InboundMemory
    /// Told of handshakes that are refused.
    package var refusals: RefusalLog?

    package init(
        webSocketPath: String, handshake: Handshake, authority: any Authority = OpenAuthority(),
        gate: ConnectionGate = ConnectionGate(.init()), memory: InboundMemory = InboundMemory(),
        refusals: RefusalLog? = nil,
        takeHTTP: @escaping @Sendable (any Channel, @escaping ShakeHands) throws -> Void
    ) {
        self.webSocketPath = webSocketPath
        self.handshake = handshake
        self.authority = authority
        self.gate = gate
        self.memory = memory
        self.refusals = refusals
        self.takeHTTP = takeHTTP
    }
}
