package import Registers

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
        /// Only calls change the key.
        case guarded
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
