package import Access
package import SQLiteStore
package import Transport
package import WebSocket

/// How a server is to run.
package struct ServerConfiguration: Sendable {
    /// The version of this software.
    package static let version = "0.1.0"

    package var host: String
    package var port: Int
    /// The file of the database.
    package var data: String
    package var durability: Durability
    /// How many event loops there are.
    package var threads: Int
    /// How far ahead of the server's clock a client's stamp may be, in milliseconds.
    package var maximumDrift: UInt64
    /// The greatest size of a value, in bytes.
    package var maximumValueSize: Int
    /// The greatest size of a message, in bytes.
    package var maximumMessageSize: Int
    /// How many bytes a slow connection's socket may have refused before it catches up from the database.
    package var maximumBacklog: Int
    /// Subscriptions per connection.
    package var maximumSubscriptions: Int
    /// How long a closing connection, and so a shutdown, may take to send what is owed, in milliseconds.
    package var drainTimeout: Int64
    /// After how long a deleted key may be forgotten, in milliseconds.
    package var tombstoneRetention: UInt64
    /// How long a slow connection may read nothing, in milliseconds.
    package var stallTimeout: Int64
    /// After how much silence a client is pinged, in milliseconds.
    package var pingInterval: Int64
    /// How long a client may take to answer a ping, in milliseconds.
    package var pingTimeout: Int64
    /// Origins of pages that may connect besides the server's own.
    package var allowedOrigins: Set<String>
    /// Whether to listen on an address that other machines reach, though there are no access rules.
    package var isOpenAllowed: Bool
    /// How much memory the cache of registers may take, in bytes.
    package var cacheSize: Int
    /// The file of access rules; nil: everybody may do everything.
    package var access: String?
    /// The files of the server's certificates; nil: connections are not encrypted.
    package var certificates: ServerCertificates.Files?
    /// The file of the keys that values are encrypted with where they are stored; nil: they are not.
    package var encryptionKeys: String?
    /// How messages are compressed for clients that offer it.
    package var compression = DeflateParameters.Policy.off
    /// How many connections there may be.
    package var connections = ConnectionGate.Limits()
    /// How long a client may take to be ready to send messages, in milliseconds.
    package var handshakeTimeout: Int64 = 10_000
    /// The greatest size of a request's head, in bytes.
    package var maximumHeadSize = 16 * 1024
    /// How many bytes may be held of messages that are not whole yet, for all connections together.
    package var maximumUnfinished = 256 << 20
    /// How fast a connection may send; nil: as it likes.
    package var rate: RateLimit.Limits?
    /// How long a connection that waits for nothing may send nothing, in milliseconds; nil: for ever.
    package var idleTimeout: UInt64?

    package init(
        host: String = "127.0.0.1", port: Int = 7827, data: String = "starling.db", durability: Durability = .commit,
        threads: Int = 1, maximumDrift: UInt64 = 60_000, maximumValueSize: Int = 1 << 20,
        maximumMessageSize: Int? = nil, maximumBacklog: Int = 1 << 20, maximumSubscriptions: Int = 10_000,
        drainTimeout: Int64 = 10_000, tombstoneRetention: UInt64 = 7 * 86_400_000, stallTimeout: Int64 = 120_000,
        pingInterval: Int64 = 25_000, pingTimeout: Int64 = 120_000, allowedOrigins: Set<String> = [],
        isOpenAllowed: Bool = false,
        cacheSize: Int = 64 << 20
    ) {
        self.host = host
        self.port = port
        self.data = data
        self.durability = durability
        self.threads = threads
        self.maximumDrift = maximumDrift
        self.maximumValueSize = maximumValueSize
        // Room for the key, the metadata and the rest of the envelope.
        self.maximumMessageSize = maximumMessageSize ?? maximumValueSize + 64 * 1024
        self.maximumBacklog = maximumBacklog
        self.maximumSubscriptions = maximumSubscriptions
        self.drainTimeout = drainTimeout
        self.tombstoneRetention = tombstoneRetention
        self.stallTimeout = stallTimeout
        self.pingInterval = pingInterval
        self.pingTimeout = pingTimeout
        self.allowedOrigins = allowedOrigins
        self.isOpenAllowed = isOpenAllowed
        self.cacheSize = cacheSize
    }
}

/// A reason not to start, or not to go on, for a person to read.
package struct ServerError: Error, CustomStringConvertible, Sendable {
    package let description: String

    package init(_ description: String) {
        self.description = description
    }
}
