package import Access
package import Registers
package import SyncProtocol

/// Something that a connection sent, to take effect in its turn.
package enum Incoming: Sendable {
    case message(ClientMessage)
    /// Registers from another database, from within the process.
    case replicate([Register], RequestID)
    /// A hello that brought credentials, and what they turned out to be worth.
    case credentials(ClientMessage.Hello, Result<Grant, AccessRefusal>)
    /// A message that could not be read.
    case invalid(WireError)
    /// The end: nothing comes after it. It takes effect when everything before it has been answered, snapshots too.
    case close
}
