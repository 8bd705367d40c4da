/// A register: a key, a JSON value (or none: a tombstone) and a version, with what travels along with them.
package struct Register: Equatable, Sendable {
    package var key: Key
    package var version: Version
    /// The value's JSON, byte for byte as it was sent; nil for a tombstone.
    package var value: [UInt8]?
    /// When the register expires, in milliseconds since 1970; nil: never.
    package var expiresAt: WallTime?
    /// The metadata's JSON as it was sent.
    package var metadata: [UInt8]?
    /// The session that the write belongs to.
    package var session: [UInt8]?
    /// Why the register is as it is, where that is not plainly a write. Not part of its identity.
    package var cause: Cause?

    package enum Cause: String, Sendable {
        /// Its time was over.
        case expired
        /// It was bound to a connection, which is gone.
        case disconnected
    }

    package init(
        key: Key, version: Version, value: [UInt8]?, expiresAt: WallTime? = nil, metadata: [UInt8]? = nil,
        session: [UInt8]? = nil, cause: Cause? = nil
    ) {
        self.key = key
        self.version = version
        self.value = value
        self.expiresAt = expiresAt
        self.metadata = metadata
        self.session = session
        self.cause = cause
    }

    package var isTombstone: Bool { value == nil }

    /// Whether the register's time is over at `now`. Judged by the wall clock, never by a stamp.
    package func isExpired(at now: WallTime) -> Bool {
        guard let expiresAt else { return false }
        return expiresAt <= now
    }

    /// Whether reads see the register at `now`: it has a value and is not expired.
    package func isVisible(at now: WallTime) -> Bool {
        !isTombstone && !isExpired(at: now)
    }

    /// The tombstone that this register turns into when its time is over. It keeps the version, so that every replica
    /// that expires the register by itself ends with the same one, and so that whatever was written over the register
    /// meanwhile is greater.
    package var expired: Register { ended(.expired) }

    /// The tombstone that ends this register without a write of anyone's. It keeps the version and the expiry, and nothing
    /// else: the tombstones of all registers with the same of both are the same.
    package func ended(_ cause: Cause) -> Register {
        var tombstone = self
        tombstone.value = nil
        tombstone.metadata = nil
        tombstone.session = nil
        tombstone.cause = cause
        return tombstone
    }
}
