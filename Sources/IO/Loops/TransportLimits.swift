package import NIOCore

/// What bounds a connection besides the shard. Each limit has a flag, or is fixed here with its reason.
package struct TransportLimits: Sendable {
    /// The greatest size of a message, all fragments together, in bytes.
    package var maximumMessageSize: Int
    /// The greatest size of a value, in bytes of JSON.
    package var maximumValueSize: Int
    /// How much a connection may leave untaken, in bytes, before it catches up instead of getting live updates, and is read
    /// from no further.
    package var maximumBacklog: Int
    /// How long a connection that is closing may take to send what it owes.
    package var drainTimeout: TimeAmount
    /// How long a client may take from connecting to the end of its request's head.
    package var handshakeTimeout: TimeAmount = .seconds(10)
    /// The greatest size of a request's head, in bytes.
    package var maximumHeadSize = 16 * 1024
    /// After how much silence a client is pinged.
    package var pingInterval: TimeAmount
    /// How long a client may take to answer a ping, or to send or take anything else.
    package var pingTimeout: TimeAmount
    /// How long a connection with a backlog may take nothing.
    package var stallTimeout: TimeAmount
    /// How long to wait for a client to close its side, once the server's is closed.
    package var lingerTimeout: TimeAmount = .seconds(2)

    package init(
        maximumMessageSize: Int, maximumValueSize: Int, maximumBacklog: Int = 1 << 20,
        drainTimeout: TimeAmount = .seconds(10), pingInterval: TimeAmount = .seconds(25),
        pingTimeout: TimeAmount = .seconds(120), stallTimeout: TimeAmount = .seconds(120)
    ) {
        self.maximumMessageSize = maximumMessageSize
        self.maximumValueSize = maximumValueSize
        self.maximumBacklog = maximumBacklog
        self.drainTimeout = drainTimeout
        self.pingInterval = pingInterval
        self.pingTimeout = pingTimeout
        self.stallTimeout = stallTimeout
    }
}
