/// A register: a key, a JSON value (or none: a tombstone) and a version, with what travels along with them.
package struct Register: RecordHolder, Equatable, Sendable {
    /// Key, value, metadata and session; and the op of the write that made it, which is not part of its identity.
    package var record: Record
    package var version: Version
    /// When the register expires, in milliseconds since 1970; nil: never.
    package var expiresAt: WallTime?
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
        self.init(
            key.record.with(value: value?.span, metadata: metadata?.span, session: session?.span, op: nil),
            version: version, expiresAt: expiresAt, cause: cause)
    }

    package init(_ record: Record, version: Version, expiresAt: WallTime? = nil, cause: Cause? = nil) {
        self.record = record
        self.version = version
        self.expiresAt = expiresAt
        self.cause = cause
    }

    package var key: Key { Key(record) }

    package static func == (left: Register, right: Register) -> Bool {
        left.record.hasSameKey(as: right.record) && compare(left, right) == 0 && left.cause == right.cause
    }

    package var isTombstone: Bool { !record.has(.value) }

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
    ///
    /// It keeps the op, too: a write that is sent again after its register's time is known.
    package var expired: Register {
        var tombstone = ended(.expired)
        if record.has(.op) { tombstone.op = op }
        return tombstone
    }

    /// The tombstone that ends this register without a write of anyone's. It keeps the version and the expiry, and nothing
    /// else: the tombstones of all registers with the same of both are the same.
    package func ended(_ cause: Cause) -> Register {
        Register(record.bare, version: version, expiresAt: expiresAt, cause: cause)
    }
}
