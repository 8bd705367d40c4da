package import Access
package import NIOCore
package import WebSocket

/// A protocol over WebSocket: which requests are for it, and what takes their channels over.
package struct Upgrade: Sendable {
    /// A request that was answered with `101`.
    package struct Accepted {
        package let response: ByteBuffer
        /// What came behind the request.
        package let rest: ByteBuffer
        package let grant: Grant
        /// How messages are compressed; nil: they are not.
        package let deflate: DeflateParameters?
        /// What is to be left when the connection is closed; nil: somebody else does that.
        package let gate: ConnectionGate?
    }

    /// What a channel is handed over to.
    package struct Successor {
        let handler: any ChannelHandler
        /// Called once the handler is the one that reads: the response has to be sent, and what came behind the request to be read.
        let start: () -> Void

        package init(_ handler: any ChannelHandler, start: @escaping () -> Void) {
            self.handler = handler
            self.start = start
        }
    }

    /// Makes what takes a channel over; called on the channel's event loop.
    package typealias TakeOver = @Sendable (Accepted, any Channel) throws -> Successor

    private let path: String?
    /// The subprotocols that are answered when they are offered.
    let subprotocols: [String]
    let takeOver: TakeOver

    /// - Parameters:
    ///   - path: all requests for this path are for it; nil: those for other paths that want a WebSocket, and offer one of the
    ///     subprotocols.
    package init(path: String?, subprotocols: [String], takeOver: @escaping TakeOver) {
        self.path = path
        self.subprotocols = subprotocols
        self.takeOver = takeOver
    }

    func serves(_ head: RequestHead) -> Bool {
        if let path { return head.path == path }
        guard head.has("websocket", in: "upgrade") else { return false }
        return head.elements("sec-websocket-protocol").contains { subprotocols.contains($0) }
    }
}
