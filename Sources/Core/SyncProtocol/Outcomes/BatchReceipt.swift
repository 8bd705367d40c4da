package import Registers

/// What a batch was given when it took effect. Its writes have revisions and stamps one after the other, in their order.
package struct BatchReceipt: Equatable, Sendable {
    /// The revision of its first write.
    package var firstRevision: UInt64
    /// The version of its first write; the others have the next stamps.
    package var firstVersion: Version
    /// How many writes there were; at least one.
    package var count: Int
    /// How much was required and met: requirements, conditions and releases.
    package var judged = 0
    /// The claims that were given up by it now: none where it took effect earlier.
    package var released: [ClientMessage.Fence]

    package init(firstRevision: UInt64, firstVersion: Version, count: Int, released: [ClientMessage.Fence] = []) {
        precondition(count > 0)
        self.firstRevision = firstRevision
        self.firstVersion = firstVersion
        self.count = count
        self.released = released
    }

    package var lastRevision: UInt64 { firstRevision + UInt64(count) - 1 }

    /// The version of each write.
    package var versions: [Version] {
        (0..<UInt64(count)).map { index in
            Version(stamp: Stamp(rawValue: firstVersion.stamp.rawValue + index), agent: firstVersion.agent)
        }
    }
}

/// Why a batch did not take effect: one write, or one requirement, that could not be met.
package struct BatchFailure: Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        /// The index among the writes.
        case write(Int)
        /// The index among the requirements.
        case requirement(Int)
    }

    package enum Reason: String, Sendable {
        /// Another version is in place than was expected, or something where nothing was.
        case condition
        /// The key is under somebody's claim.
        case held
        /// The claim is not in force any more.
        case staleFence = "stale_fence"
        /// There are as many keys as the credentials allow.
        case tooManyKeys = "too_many_keys"

        /// The code under which refusals are counted; nil: a condition that is not met is none.
        package var code: ErrorCode? { ErrorCode(rawValue: rawValue) }
    }

    package var place: Place
    package var key: Key
    package var reason: Reason
    /// What is in place, where reads see anything.
    package var current: StoredRegister?

    package init(_ place: Place, key: Key, reason: Reason, current: StoredRegister?) {
        self.place = place
        self.key = key
        self.reason = reason
        self.current = current
    }
}
