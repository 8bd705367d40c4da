import Access
import Loops
import NIOCore
import Registers
import SyncProtocol
import Synchronization

/// Has memories live on that are read, each once at a time: that is the server's doing, and whoever read it waits for nothing.
final class Touches: Sendable {
    private let connections: InProcessConnections
    private let eventLoop: any EventLoop
    private let underWay = Mutex<Set<Key>>([])

    init(_ connections: InProcessConnections, on eventLoop: any EventLoop) {
        self.connections = connections
        self.eventLoop = eventLoop
    }

    /// - Parameter timeToLive: in seconds.
    func touch(_ key: Key, timeToLive: Double) {
        guard underWay.withLock({ $0.insert(key).inserted }) else { return }
        var message = SyncMessage("touch")
        message.add("key", "\(key)")
        try? message.add("ttl", json: ByteBuffer(string: "\(timeToLive)"))
        let request = message
        Task {
            if let connection = try? await connections.open(.server, on: eventLoop, isTaken: false) {
                // Where it cannot be it is not: the memory ends as it would have.
                _ = try? await connection.ask(request)
                connection.close()
            }
            underWay.withLock { _ = $0.remove(key) }
        }
    }
}
