import SyncProtocol

/// A claim that the client holds, as far as it knows.
struct Claim: Sendable {
    /// Two thirds of a lease are left for renewals that fail at first.
    static let renewAfter = 1.0 / 3
    /// How long to wait after a renewal that was not answered, in milliseconds.
    static let retry = 1_000.0

    let key: String
    let fence: UInt64
    let endsWithConnection: Bool
    /// How long it holds from a renewal on, in milliseconds; nil: as long as the connection.
    let ttl: Double?
    /// When the server ends it without a renewal, by its clock, in milliseconds.
    private(set) var expiresAt: Double
    /// When it has certainly ended, by a clock that nobody sets: its time, counted from when it was asked for.
    private(set) var validUntil = Double.infinity
    private(set) var renewAt = Double.infinity

    init(_ answer: JSONObject, ttl: Double?, endsWithConnection: Bool, askedAt: Double) {
        key = answer.string("key") ?? ""
        fence = answer.integer("fence").flatMap { UInt64(exactly: $0) } ?? 0
        self.ttl = ttl
        self.endsWithConnection = endsWithConnection
        expiresAt = 0
        extend(answer, askedAt: askedAt)
    }

    /// It was granted, or renewed, by the answer to what was asked for at `askedAt`.
    mutating func extend(_ answer: JSONObject, askedAt: Double) {
        expiresAt = answer.integer("expires_at").map { Double($0) } ?? expiresAt
        guard let ttl else { return }
        validUntil = askedAt + ttl
        renewAt = askedAt + ttl * Self.renewAfter
    }

    func isInForce(now: Double, serverNow: Double) -> Bool {
        now < validUntil && (ttl == nil || serverNow < expiresAt)
    }

    /// When something is to be done about it.
    var deadline: Double { min(renewAt, validUntil) }

    /// Whether it is to be renewed; asked once for each time.
    mutating func takeRenewal(at now: Double) -> Bool {
        guard now >= renewAt else { return false }
        renewAt = now + min(Self.retry, (ttl ?? .infinity) / 6)
        return true
    }
}

/// How a claim came to an end.
enum ClaimEnd: Equatable, Sendable {
    /// The client wants it no more, and asks the server to release it.
    case givenUp
    /// The server has released it.
    case released
    /// Why it was lost: what the server says, `expired`, `disconnected`, `closed`.
    case lost(String)
}

/// The claims that a client holds. They are renewed as long as somebody has a connection to renew them on.
extension Engine {
    /// A claim was granted.
    ///
    /// - Parameters:
    ///   - ttl: how long it holds without a renewal, in milliseconds; nil: until the connection ends.
    ///   - askedAt: when it was asked for (``now``).
    /// - Returns: the claim's number.
    mutating func hold(_ answer: JSONObject, ttl: Double?, endsWithConnection: Bool, askedAt: Double) -> Int {
        let number = nextClaim
        nextClaim += 1
        claims[number] = Claim(answer, ttl: ttl, endsWithConnection: endsWithConnection, askedAt: askedAt)
        return number
    }

    /// Whether a claim is in force, as far as can be known here.
    func isHeld(_ claim: Int) -> Bool { claims[claim]?.isInForce(now: now, serverNow: serverNow) ?? false }

    /// Whether something would be lost with the connection.
    var needsConnection: Bool { claims.values.contains(where: \.endsWithConnection) }

    /// Renews a claim.
    ///
    /// - Parameter value: what the key is to hold from now on, as JSON; nil leaves it.
    /// - Returns: the request's number.
    /// - Throws: ``StarlingError`` `stale_fence` where it is not held any more; and as ``request(_:_:timeout:)``.
    mutating func renew(_ number: Int, value: String? = nil) throws(StarlingError) -> Int {
        guard let claim = claims[number] else { throw StarlingError("stale_fence", "the claim is not held any more") }
        var message = Message("renew")
        message.add("key", claim.key)
        message.add("fence", claim.fence)
        message.add("ttl", claim.ttl.map { $0 / 1_000 })
        message.add("value", raw: value)
        let request = try request(message, "renew")
        renewals[request] = (number, now)
        return request
    }

    /// A request was answered, which may have been for a renewal.
    mutating func noteRenewal(_ request: Int, _ answer: Result<JSONObject, StarlingError>) {
        guard let (number, askedAt) = renewals.removeValue(forKey: request), let claim = claims[number] else { return }
        switch answer {
        case .failure(let error): effects.append(.log(.warning, "claim \(claim.key): \(error)"))
        case .success(let answer):
            if answer.string("type") == "refused" {
                end(claim: number, .lost(answer.string("code") ?? "refused"))
            } else {
                claims[number]?.extend(answer, askedAt: askedAt)
            }
        }
    }

    /// A batch was applied that gave up these claims: fences by their keys.
    mutating func released(_ fences: [String: UInt64?]) {
        for (number, claim) in claims where fences[claim.key] == claim.fence { end(claim: number, .released) }
    }

    /// A claim is over, here. Safe to repeat.
    mutating func end(claim number: Int, _ end: ClaimEnd) {
        guard let claim = claims.removeValue(forKey: number) else { return }
        if case .lost(let reason) = end {
            effects.append(.log(.warning, "the claim \(claim.key) is lost: \(reason)"))
        }
        effects.append(.claimEnded(claim: number, end))
    }

    /// Ends the claims that a connection takes with it.
    mutating func loseClaims() {
        for number in claims.filter({ $0.value.endsWithConnection }).keys.sorted() {
            end(claim: number, .lost("disconnected"))
        }
    }

    var claimDeadline: Double { claims.values.lazy.map(\.deadline).min() ?? .infinity }

    /// Renews what is due, and notices what is over.
    mutating func tickClaims() {
        for number in claims.keys.sorted() {
            guard isHeld(number) else {
                end(claim: number, .lost("expired"))
                continue
            }
            let now = now
            guard claims[number]?.takeRenewal(at: now) == true, isGreeted else { continue }
            do throws(StarlingError) {
                _ = try renew(number)
            } catch {
                effects.append(.log(.warning, "claim \(claims[number]?.key ?? ""): \(error)"))
            }
        }
    }
}
