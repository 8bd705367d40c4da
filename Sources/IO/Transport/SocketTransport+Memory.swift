import Loops
import NIOCore
import WebSocket

/// What a connection holds of what is not whole yet.
extension SocketTransport {
    /// The greatest message of somebody who has shown no credentials, where there have to be some.
    private static let strangersMessage = 64 << 10

    /// Finds out who this is, by what the credentials say.
    func meet() {
        let isStranger = driver.isStranger(id)
        let limit = driver.limits.maximumMessageSize
        reader.maximumMessageSize = isStranger ? min(limit, Self.strangersMessage) : limit
        held.belong(to: isStranger ? .stranger : .known)
    }

    /// Counts what is held with what others hold.
    func countHeld() {
        if !held.set(reader.heldBytes + inbound.storageCapacity) { driver.makeRoom(held.party) }
    }

    func heldBytes(of party: InboundMemory.Party) -> Int { held.party == party ? held.count : 0 }

    /// Reads nothing more, and holds nothing.
    func stopReading() {
        reader.stop()
        inbound = ByteBuffer()
        countHeld()
    }
}
