package import NIOCore
package import SyncEngine
package import SyncProtocol

/// What a connection sends and receives by: a socket, or something within this process. The ``LoopDriver`` that it belongs to calls
/// it, on its event loop only; it decides nothing, the ``Shard`` does.
package protocol ConnectionTransport: AnyObject {
    /// What ``LoopDriver/connect(_:grant:)`` returned.
    var id: ConnectionID { get }
    /// What has been sent and not been taken, in bytes. Above ``TransportLimits/maximumBacklog`` the connection gets no live updates
    /// any more, and catches up.
    var backlog: Int { get }
    /// Whether it is broken. Acted on after the fan-out under way.
    var hasFailed: Bool { get }

    /// Sends an answer, which is never dropped.
    func send(_ frames: ByteBuffer)
    /// Sends updates, which may be dropped until they are begun.
    func send(_ delivery: Delivery)
    /// Drops the updates that are not begun.
    ///
    /// - Returns: what will never be sent, in the order in which it would have been.
    func drop() -> [Delivery]

    /// Takes what has come, for as long as ``LoopDriver/requestRead(_:backlog:)`` allows.
    func readMessages()
    /// Reads on: the shard and the backlog allow it again.
    func resume()
    /// What is held of messages that are not whole, in bytes, where it counts for this party.
    func heldBytes(of party: InboundMemory.Party) -> Int
    /// Reads nothing more, and holds nothing.
    func stopReading()

    /// Looks whether the other side is still there. To be called every second or so.
    func check(at now: NIODeadline) -> Liveness
    /// Everything is answered: ends behind what was sent.
    func finish()
    /// Ends without what is owed, and says why.
    func giveUp(_ code: ErrorCode, _ reason: String)
    /// The server is stopping: ends as if the client had asked for it.
    func shutDown()
    /// Ends at once.
    func abort()
}

/// What a look at a connection found.
package enum Liveness {
    case alive
    /// It takes nothing of what it is owed.
    case stalled
    /// It does not answer, and takes nothing either.
    case unresponsive
}
