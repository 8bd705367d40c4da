package import Access
package import Loops
package import NIOCore
package import WebSocket

/// Where requests go.
package struct HandshakeRoutes: Sendable {
    /// The protocols over WebSocket. The first one that a request is for takes its channel over.
    package var upgrades: [Upgrade]
    package var handshake: Handshake
    /// Takes a channel over from the head of the request that it is given; when it can, it calls what it is given with that, which
    /// takes the handlers out that have been there.
    package typealias ShakeHands =
        (_ head: RequestHead, _ isInputClosed: Bool, _ installed: () -> Void) throws -> Void
    /// Adds the handlers of HTTP to a channel's pipeline; on the channel's event loop. They call `ShakeHands` for a request that is
    /// an upgrade.
    package var takeHTTP: TakeHTTP
    package typealias TakeHTTP =
        @Sendable (any Channel, _ isUpgrade: @escaping (RequestHead) -> Bool, @escaping ShakeHands) throws -> Void
    /// Says what credentials are worth.
    package var authority: any Authority
    package var gate: ConnectionGate
    /// What all connections hold of requests and messages that are not whole yet.
    package var memory: InboundMemory
    /// Told of handshakes that are refused.
    package var refusals: RefusalLog?

    package init(
        upgrades: [Upgrade] = [], handshake: Handshake, authority: any Authority = OpenAuthority(),
        gate: ConnectionGate = ConnectionGate(.init()), memory: InboundMemory = InboundMemory(),
        refusals: RefusalLog? = nil,
        takeHTTP: @escaping TakeHTTP
    ) {
        self.upgrades = upgrades
        self.handshake = handshake
        self.authority = authority
        self.gate = gate
        self.memory = memory
        self.refusals = refusals
        self.takeHTTP = takeHTTP
    }

    /// The same with another upgrade, which comes before the others.
    func adding(_ upgrade: Upgrade) -> HandshakeRoutes {
        var routes = self
        routes.upgrades.insert(upgrade, at: 0)
        return routes
    }

    /// The protocol that a request is for; nil: it is for HTTP.
    func upgrade(for head: RequestHead) -> Upgrade? { upgrades.first { $0.serves(head) } }
}
