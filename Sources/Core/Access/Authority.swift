/// Who says what credentials are worth.
package protocol Authority: Sendable {
    /// What those may do who bring no credentials.
    var anonymous: Grant { get }
    /// Changes with the rules.
    var generation: UInt64 { get }

    /// Finds out what credentials are worth.
    ///
    /// - Parameter answer: is called once, by any thread, perhaps before this returns.
    func check(_ credential: Credential, _ answer: @escaping @Sendable (Result<Grant, AccessRefusal>) -> Void)

    /// Why a grant that was given earlier is no longer good, whatever its end; nil: it is as good as then.
    func problem(with grant: Grant) -> AccessRefusal?
}

/// Why access is refused or ends. The text is for whoever is refused, and says nothing about others.
package enum AccessRefusal: Error, Equatable, Sendable {
    /// The credentials are none that the rules know, or are not valid any more, or not yet.
    case invalid(String)
    /// The grant has come to its end.
    case expired
    /// The rules have changed.
    case changed
    /// Too much is being checked to check this too, for now.
    case busy
}

/// The authority of a server without access rules.
package struct OpenAuthority: Authority {
    package init() {}

    package var anonymous: Grant { .unrestricted }
    package var generation: UInt64 { 0 }

    package func check(
        _ credential: Credential, _ answer: @escaping @Sendable (Result<Grant, AccessRefusal>) -> Void
    ) {
        answer(.success(.unrestricted))
    }

    package func problem(with grant: Grant) -> AccessRefusal? { nil }
}

/// The secret that a client shows: a token of the access file or a JSON Web Token. It is in no description of anything.
package struct Credential: Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The greatest length, in bytes.
    package static let maximumLength = 8_192

    package let secret: String

    package init(_ secret: String) {
        self.secret = secret
    }

    /// Reads the value of an `Authorization` header (RFC 6750, section 2.1).
    ///
    /// - Returns: nil when it is of another scheme than `Bearer`.
    package init?(authorization value: String) {
        let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
        guard parts.first?.lowercased() == "bearer" else { return nil }
        // Bearer of nothing is nobody, and not somebody without credentials.
        secret = parts.count == 2 ? String(parts[1].drop { $0 == " " }) : ""
    }

    package var description: String { "…" }
    package var debugDescription: String { "…" }
}
