package import Access
package import SQLiteStore
package import Transport
package import WebSocket

/// How a server is to run.
package struct ServerConfiguration: Sendable {
    /// The version of this software.
    package static let version = "0.1.0"

    package var host = "127.0.0.1"
    package var port = 7827
    /// The file of the database.
    package var data = "starling.db"
    package var durability = Durability.commit
    /// How many event loops there are.
    package var threads = 1
    /// How far ahead of the server's clock a client's stamp may be.
    package var maximumDrift = Duration.seconds(60)
    /// The greatest size of a value, in bytes.
    package var maximumValueSize = 1 << 20
    /// The greatest size of a message, in bytes; nil: that of a value, and ``envelope``.
    package var maximumMessageSize: Int?
    /// Room for the key, the metadata and the rest of a message beside its value, in bytes.
    package static let envelope = 64 * 1_024
    /// How many bytes a slow connection's socket may have refused before it catches up from the database.
    package var maximumBacklog = 1 << 20
    /// Subscriptions per connection.
    package var maximumSubscriptions = 10_000
    /// How long a closing connection, and so a shutdown, may take to send what is owed.
    package var drainTimeout = Duration.seconds(10)
    /// After how long a deleted key may be forgotten.
    package var tombstoneRetention = Duration.seconds(7 * 86_400)
    /// After what time without a connection the server stops; nil: it does not.
    package var idleExit: Duration?
    /// How long a task of a swarm is kept once it is over.
    package var taskRetention = Duration.seconds(30 * 86_400)
    /// How long a slow connection may read nothing.
    package var stallTimeout = Duration.seconds(120)
    /// After how much silence a client is pinged.
    package var pingInterval = Duration.seconds(25)
    /// How long a client may take to answer a ping.
    package var pingTimeout = Duration.seconds(120)
    /// Origins of pages that may connect besides the server's own.
    package var allowedOrigins: Set<String> = []
    /// Whether to listen on an address that other machines reach, though there are no access rules.
    package var isOpenAllowed = false
    /// How much memory the cache of registers may take, in bytes.
    package var cacheSize = 64 << 20
    /// The file of access rules; nil: everybody may do everything.
    package var access: String?
    /// The files of the server's certificates; nil: connections are not encrypted.
    package var certificates: ServerCertificates.Files?
    /// The file of the keys that values are encrypted with where they are stored; nil: they are not.
    package var encryptionKeys: String?
    /// How messages are compressed for clients that offer it.
    package var compression = DeflateParameters.Policy.off
    /// How many connections there may be.
    package var connections = ConnectionGate.Limits(perAddress: 1_024)
    /// How long a client may take to be ready to send messages.
    package var handshakeTimeout = Duration.seconds(10)
    /// The greatest size of a request's head, in bytes.
    package var maximumHeadSize = 16 * 1_024
    /// How many bytes may be held of messages that are not whole yet, for all connections together.
    package var maximumUnfinished = 256 << 20
    /// How fast a connection may send; nil: as it likes.
    package var rate: RateLimit.Limits?
    /// How long a connection that waits for nothing may send nothing; nil: for ever.
    package var idleTimeout: Duration?

    package init() {}

    /// The greatest size of a message, in bytes.
    var messageSize: Int { maximumMessageSize ?? maximumValueSize + Self.envelope }
}

extension Duration {
    /// In whole milliseconds.
    var milliseconds: UInt64 { UInt64(self / .milliseconds(1)) }
}

/// A reason not to start, or not to go on, for a person to read.
package struct ServerError: Error, CustomStringConvertible, Sendable {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}
