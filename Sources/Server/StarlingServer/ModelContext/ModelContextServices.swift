import Access
import Loops
import NIOCore
import SearchIndex
import SyncProtocol

/// What clients that speak MCP share.
final class ModelContextServices: Sendable {
    let connections: InProcessConnections
    let index: SearchIndex
    let sessions: MCPSessions
    let leases: LeaseKeeper

    init(_ connections: InProcessConnections, _ index: SearchIndex, on eventLoop: any EventLoop) {
        self.connections = connections
        self.index = index
        sessions = MCPSessions(connections)
        leases = LeaseKeeper(connections, on: eventLoop)
    }

    /// Ends all sessions: before connections are drained.
    func stop() async {
        await leases.stop()
        await sessions.stop()
    }
}
