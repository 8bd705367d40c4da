package import Registers

/// What the bearer of some credentials may do. Made when the credentials are checked, and shared by all connections that
/// brought the same ones.
package final class Grant: Sendable {
    /// Where a grant comes from.
    package enum Source: Hashable, Sendable {
        /// There are no access rules: everybody may do everything.
        case noRules
        /// The server itself, for what it keeps of its own.
        case server
        /// No credentials were brought. `isAllowed`: the rules give something to those who bring none.
        case anonymous(isAllowed: Bool)
        /// A token of the access file, by its id.
        case token(String)
        /// A JSON Web Token, by its issuer's id in the access file, its subject, and digests of the key that signed it and
        /// of the issuer's rule.
        case issuer(String, subject: String, key: String, rule: String)
    }

    package let source: Source
    /// The keys whose values may be seen.
    package let read: Scope
    /// The keys that may be written, deleted and claimed.
    package let write: Scope
    /// The name that its bearer writes under; nil: any.
    package let agent: Agent?
    /// When it ends, in milliseconds since 1970; nil: not by itself.
    package let expiresAt: WallTime?
    /// Whether its bearer may see how the server is doing.
    package let mayMonitor: Bool
    /// Whether its bearer may merge registers as they are, with the versions that they have. Given within the process only.
    package let mayMerge: Bool
    /// How many keys there may be in all within ``write``; nil: any number.
    package let maximumKeys: Int?
    /// What its bearers may send together.
    private let rate: RateLimiter?
    /// The grant that it was made of, for what the server does in the name of that one's bearer.
    package let basis: Grant?

    package init(
        _ source: Source, read: Scope, write: Scope, agent: Agent? = nil, expiresAt: WallTime? = nil,
        mayMonitor: Bool = false, mayMerge: Bool = false, maximumKeys: Int? = nil, rate: RateLimiter? = nil,
        basis: Grant? = nil
    ) {
        self.source = source
        self.read = read
        self.write = write
        self.agent = agent
        self.expiresAt = expiresAt
        self.mayMonitor = mayMonitor
        self.mayMerge = mayMerge
        self.maximumKeys = maximumKeys
        self.rate = rate
        self.basis = basis
    }

    /// The same for as long, without a limit on how much may be sent: what follows from one message is not counted as more of them.
    package var unlimited: Grant {
        Grant(
            source, read: read, write: write, agent: agent, expiresAt: expiresAt, maximumKeys: maximumKeys,
            basis: basis ?? self)
    }

    /// Whether its connections are the server's own doing.
    package var isOfServer: Bool { source == .server || basis != nil }

    /// What the server reads and writes for itself.
    package static let server = Grant(.server, read: .everything, write: .everything)

    /// The grant of a server without access rules.
    package static let unrestricted = Grant(.noRules, read: .everything, write: .everything, mayMonitor: true)

    /// The name that its bearer is known again by when the credentials are shown again, or are renewed. No two bearers that the rules
    /// tell apart have the same one.
    package var bearer: [UInt8] {
        switch source {
        case .noRules, .server: []
        case .anonymous: Array("anonymous".utf8)
        case .token(let id): Array("token \(id)".utf8)
        case .issuer(let id, let subject, _, _): Array("issuer \(id.utf8.count) \(id) \(subject)".utf8)
        }
    }

    /// Whether its bearer has to show credentials before anything else.
    package var isNothing: Bool { source == .anonymous(isAllowed: false) }

    /// Whether it allows exactly what `other` does, but for how long.
    package func allowsTheSame(as other: Grant) -> Bool {
        read == other.read && write == other.write && agent == other.agent && mayMonitor == other.mayMonitor
            && mayMerge == other.mayMerge && maximumKeys == other.maximumKeys && rate?.limits == other.rate?.limits
    }

    /// Counts a message against what all bearers may send together.
    ///
    /// - Returns: nil if it may pass, else how long to wait before the next one, in milliseconds.
    package func take(bytes: Int, messages: Int = 1, now: WallTime) -> UInt64? {
        rate?.take(bytes: bytes, messages: messages, now: now)
    }
}
