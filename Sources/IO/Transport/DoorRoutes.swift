package import Access
package import NIOCore
package import WebSocket

/// Where requests go.
package struct DoorRoutes: Sendable {
    /// The path of the WebSocket.
    package var webSocketPath: String
    package var handshake: Handshake
    /// Adds the handlers of HTTP to a channel's pipeline; on the channel's event loop.
    package var takeHTTP: @Sendable (any Channel) throws -> Void
    /// Says what credentials are worth.
    package var authority: any Authority
    package var gate: ConnectionGate

    package init(
        webSocketPath: String, handshake: Handshake, authority: any Authority = OpenAuthority(),
        gate: ConnectionGate = ConnectionGate(.init()),
        takeHTTP: @escaping @Sendable (any Channel) throws -> Void
    ) {
        self.webSocketPath = webSocketPath
        self.handshake = handshake
        self.authority = authority
        self.gate = gate
        self.takeHTTP = takeHTTP
    }
}
