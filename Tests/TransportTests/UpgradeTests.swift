import Access
import Loops
import NIOCore
import NIOEmbedded
import Testing
import WebSocket

@testable import Transport

struct UpgradeTests {
    private final class Receiver: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let name: String
        private(set) var received = ""

        init(_ name: String) { self.name = name }

        private(set) var isInputClosed = false

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            take(unwrapInboundIn(data))
        }

        func take(_ bytes: ByteBuffer) { received += String(buffer: bytes) }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case ChannelEvent.inputClosed = event { isInputClosed = true }
        }
    }

    private static func upgrade(_ path: String?, _ subprotocols: [String], _ name: String) -> Upgrade {
        Upgrade(path: path, subprotocols: subprotocols) { accepted, channel in
            let receiver = Receiver(name)
            return Upgrade.Successor(receiver) {
                channel.writeAndFlush(accepted.response, promise: nil)
                receiver.take(accepted.rest)
            }
        }
    }

    private static let upgrades = [
        upgrade("/sync", ["starling.v1"], "sync"), upgrade(nil, ["hrana2", "hrana3"], "sql"),
        upgrade("/echo", [], "echo"),
    ]

    private func request(_ path: String, _ subprotocols: String? = nil) -> String {
        "GET \(path) HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + (subprotocols.map { "Sec-WebSocket-Protocol: \($0)\r\n" } ?? "") + "\r\n"
    }

    /// Who takes a channel over whose first request is this one; and what it is answered.
    private func takes(_ request: String) throws -> (name: String?, response: String, rest: String?) {
        let channel = EmbeddedChannel()
        let routes = HandshakeRoutes(
            upgrades: Self.upgrades, handshake: Handshake(policy: .init()),
            takeHTTP: { channel, _, _ in try channel.pipeline.syncOperations.addHandler(Receiver("http")) })
        _ = routes.gate.enter()
        try channel.pipeline.syncOperations.addHandler(
            HandshakeHandler(
                routes: routes, limits: TransportLimits(maximumMessageSize: 1 << 20, maximumValueSize: 1 << 20)))
        try channel.writeInbound(ByteBuffer(string: request))
        let response = try channel.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) } ?? ""
        let receiver = try? channel.pipeline.syncOperations.handler(type: Receiver.self)
        _ = try? channel.finish()
        return (receiver?.name, response, receiver?.received)
    }

    @Test("A request goes to the first protocol that is spoken at its path, or under a subprotocol that it offers")
    func table() throws {
        #expect(try takes(request("/sync")).name == "sync")
        let named = try takes(request("/sync?x", "hrana3, starling.v1") + "behind it")
        #expect(named.name == "sync" && named.rest == "behind it")
        #expect(named.response.contains("Sec-WebSocket-Protocol: starling.v1\r\n"))
        let sql = try takes(request("/", "hrana3, hrana2"))
        #expect(sql.name == "sql" && sql.response.contains("Sec-WebSocket-Protocol: hrana3\r\n"))
        #expect(try takes(request("/echo", "x")).name == "echo")
        #expect(try takes(request("/")).name == "http")
        #expect(try takes("GET /v1/keys HTTP/1.1\r\nSec-WebSocket-Protocol: hrana2\r\n\r\n").name == "http")
    }

    /// Says what credentials are worth when it is told to.
    private final class SlowAuthority: Authority, @unchecked Sendable {
        let anonymous = Grant.unrestricted
        let generation: UInt64 = 0
        var answer: (@Sendable (Result<Grant, AccessRefusal>) -> Void)?

        func check(_ credential: Credential, _ answer: @escaping @Sendable (Result<Grant, AccessRefusal>) -> Void) {
            self.answer = answer
        }
        func problem(with grant: Grant) -> AccessRefusal? { nil }
    }

    @Test(
        "A channel that closes while its credentials are checked is handed over to nobody; one that is half-closed says so"
    )
    func closedMeanwhile() throws {
        #expect(try check { $0.fireChannelInactive() } == nil)
        #expect(try check { $0.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }?.isInputClosed == true)
        #expect(try check { _ in }?.isInputClosed == false)
    }

    /// Who takes over a channel to which something happens while its credentials are checked.
    private func check(_ happens: (ChannelPipeline) -> Void) throws -> Receiver? {
        let channel = EmbeddedChannel()
        let authority = SlowAuthority()
        let routes = HandshakeRoutes(
            upgrades: Self.upgrades, handshake: Handshake(policy: .init()), authority: authority,
            takeHTTP: { channel, _, _ in channel.close(promise: nil) })
        _ = routes.gate.enter()
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.pipeline.syncOperations.addHandler(
            HandshakeHandler(
                routes: routes, limits: TransportLimits(maximumMessageSize: 1 << 20, maximumValueSize: 1 << 20)))
        let request = request("/sync").replacing("Host: localhost", with: "Host: localhost\r\nAuthorization: Bearer x")
        try channel.writeInbound(ByteBuffer(string: request))
        let answer = try #require(authority.answer)
        // Handlers hear of the end at once, and are removed later.
        happens(channel.pipeline)
        answer(.success(.unrestricted))
        let receiver = try? channel.pipeline.syncOperations.handler(type: Receiver.self)
        _ = try? channel.finish()
        #expect(routes.gate.counts.open == (receiver == nil ? 0 : 1))
        return receiver
    }

    @Test("What is for a protocol and no handshake is refused, and goes to nobody")
    func refused() throws {
        let answer = try takes("GET /sync HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(answer.name == nil && answer.response.hasPrefix("HTTP/1.1 426 "))
    }
}
