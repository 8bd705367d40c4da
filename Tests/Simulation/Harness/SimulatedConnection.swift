import NIOCore
import SyncEngine
import SyncProtocol
import Transport

/// The server's end of a connection, and the network to its client: a socket whose buffer fills up, and messages that are
/// under way.
final class SimulatedConnection: OutboundSocket {
    let id: ConnectionID
    unowned let client: SimulatedClient
    private(set) var outbound: Outbound!
    /// What the kernel has taken and the client has not read yet.
    private(set) var wire: [UInt8] = []
    /// What the channel has been given, and the kernel has not taken.
    private var pending: ByteBuffer?
    /// What the client has sent and the server has not read yet.
    var uplink: [ClientMessage] = []
    /// Whether the client is gone, which the server may not have noticed.
    var isAbandoned = false
    /// How much the kernel takes before it is full.
    private let capacity: Int

    init(id: ConnectionID, client: SimulatedClient, capacity: Int) {
        self.id = id
        self.client = client
        self.capacity = capacity
        outbound = Outbound(socket: self)
    }

    private var room: Int { max(0, capacity - wire.count) }

    func sendNow(_ bytes: UnsafeRawBufferPointer) -> SendResult {
        let count = min(room, bytes.count)
        wire += bytes.prefix(count)
        return .sent(count)
    }

    func writeLater(_ bytes: ByteBuffer) {
        precondition(pending == nil, "the channel has something of ours already")
        pending = bytes
    }

    func finish() {}

    /// The socket is ready: the channel writes what it was given.
    ///
    /// - Returns: whether the connection has drained by that.
    func writePending() -> Bool {
        guard var bytes = pending, let taken = bytes.readBytes(length: min(room, bytes.readableBytes)) else {
            return false
        }
        wire += taken
        pending = bytes.readableBytes > 0 ? bytes : nil
        return pending == nil && outbound.wrote()
    }

    /// The client reads up to `count` bytes.
    func read(_ count: Int) -> [UInt8] {
        let bytes = Array(wire.prefix(count))
        wire.removeFirst(bytes.count)
        return bytes
    }
}
