import Access
import Foundation
import JWTKit
import Registers
import Synchronization

/// An issuer of JSON Web Tokens (RFC 7519), with its keys: those of HS256, ES256 and EdDSA.
struct IssuerRule: Sendable {
    /// What its tokens say of themselves.
    struct Claims: JWTPayload {
        var iss: IssuerClaim?
        var sub: SubjectClaim?
        var aud: AudienceClaim?
        var exp: ExpirationClaim?
        var nbf: NotBeforeClaim?
        /// Patterns that narrow what the rule gives.
        var read: [String]?
        var write: [String]?

        // The times are checked by the server's own clock.
        func verify(using algorithm: some JWTAlgorithm) {}
    }

    /// How far the issuer's clock may be from this one, in milliseconds.
    private static let leeway: UInt64 = 30_000

    let entry: AccessFile.Issuer
    private let keys: [VerificationKey]
    /// Of what the access file says; the keys may change without it.
    private let digest: String
    private let limiters: SubjectLimiters

    /// - Parameter old: the rule of the same issuer before: where the limits are the same, what is used up of them stays so.
    init(_ entry: AccessFile.Issuer, old: IssuerRule?, place: String, folder: URL) throws(ServerError) {
        self.entry = entry
        digest = "\(entry)"
        let rate = entry.limits?.rate
        if let old, old.limiters.limits == rate {
            limiters = old.limiters
        } else {
            limiters = SubjectLimiters(rate)
        }
        try AccessRules.check(entry.limits, place)
        switch (entry.keysFile, entry.secretFile) {
        case (let file?, nil):
            keys = try VerificationKey.publicKeys(Self.read(file, folder, "\(place).keys_file"), file)
        case (nil, let file?):
            keys = [try VerificationKey.secret(Self.read(file, folder, "\(place).secret_file"), file)]
        default: throw ServerError("\(place) must have either \"keys_file\" or \"secret_file\"")
        }
        // Whatever a subject makes of them, the patterns have to be ones.
        _ = try scope(entry.read, subject: "x", "\(place).read")
        _ = try scope(entry.write, subject: "x", "\(place).write")
        _ = try agent(subject: "x", "\(place).agent")
    }

    private static func read(_ file: String, _ folder: URL, _ place: String) throws(ServerError) -> Data {
        let path = URL(filePath: file, relativeTo: folder).path
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ServerError("\(place): cannot read \(path)")
        }
        return data
    }

    // MARK: Tokens

    /// Whether grants of the rule with this digest, by tokens signed with this key, are still good.
    func isAsItWas(_ digest: String, key: String) -> Bool {
        digest == self.digest && keys.contains { $0.digest == key }
    }

    /// What a token is worth whose `iss` is this issuer's.
    func check(_ token: String, _ header: TokenHeader, now: WallTime) async -> Result<Grant, AccessRefusal> {
        let candidates = keys.filter { key in
            key.algorithm == header.alg && (header.kid == nil || key.id == nil || key.id == header.kid)
        }
        for key in candidates {
            guard let claims = try? await key.verify(token) else { continue }
            return check(claims, key: key.digest, now: now)
        }
        return .failure(.invalid("the token's signature is not of a key that this server knows for its issuer"))
    }

    private func check(_ claims: Claims, key: String, now: WallTime) -> Result<Grant, AccessRefusal> {
        guard claims.aud?.value.contains(entry.audience) == true else {
            return .failure(.invalid("the token is not for this server: its \"aud\" does not name \(entry.audience)"))
        }
        guard let expiry = claims.exp.map({ Self.time($0.value) }) else {
            return .failure(.invalid("the token has no \"exp\""))
        }
        guard expiry + Self.leeway > now else { return .failure(.expired) }
        if let start = claims.nbf.map({ Self.time($0.value) }), start > now + Self.leeway {
            return .failure(.invalid("the token is not valid yet"))
        }
        do {
            return .success(
                try grant(to: claims.sub?.value ?? "", key: key, claims: claims, expiresAt: expiry + Self.leeway))
        } catch {
            // What exactly is wrong would show the rule.
            return .failure(.invalid("the token's \"sub\", \"read\" or \"write\" cannot be used here"))
        }
    }

    private static func time(_ date: Date) -> WallTime {
        WallTime(milliseconds: UInt64(min(max(0, date.timeIntervalSince1970 * 1_000), 4e15)))
    }

    // MARK: What it gives

    private func grant(
        to subject: String, key: String, claims: Claims?, expiresAt: WallTime?
    ) throws(ServerError) -> Grant {
        var read = try scope(entry.read, subject: subject, "read")
        var write = try scope(entry.write, subject: subject, "write")
        if let own = claims?.read { read = read.narrowed(by: try AccessRules.scope(own, "the token's \"read\"")) }
        if let own = claims?.write { write = write.narrowed(by: try AccessRules.scope(own, "the token's \"write\"")) }
        return Grant(
            .issuer(entry.id, subject: subject, key: key, rule: digest), read: read, write: write,
            agent: try agent(subject: subject, "agent"), expiresAt: expiresAt, mayMonitor: entry.monitor ?? false,
            maximumKeys: entry.limits?.keys, rate: limiters.limiter(of: subject))
    }

    private static let placeholder = "${sub}"

    private func scope(_ texts: [String]?, subject: String, _ place: String) throws(ServerError) -> Scope {
        guard texts?.contains(where: { $0.contains(Self.placeholder) }) == true else {
            return try AccessRules.scope(texts, place)
        }
        // A subject with a separator would reach into another one's keys: "a:b" into those of "a".
        guard !subject.isEmpty, !subject.utf8.contains(Key.separator) else {
            throw ServerError("its \"sub\" is \"\(subject)\", which can be no segment of a key")
        }
        // Scalar by scalar: a character may be a wildcard and an accent.
        var literal = String.UnicodeScalarView()
        for scalar in subject.unicodeScalars {
            if "*?\\".unicodeScalars.contains(scalar) { literal.append("\\") }
            literal.append(scalar)
        }
        let text = String(literal)
        return try AccessRules.scope(texts?.map { Self.replace(in: $0, with: text) }, place)
    }

    /// Its subject's name, unless the rule gives another.
    private func agent(subject: String, _ place: String) throws(ServerError) -> Agent? {
        let text = entry.agent ?? Self.placeholder
        if text == AccessRules.anyAgent { return nil }
        return try AccessRules.fixedAgent(Self.replace(in: text, with: subject), place)
    }

    /// By bytes: characters of the subject must not join those around them.
    private static func replace(in text: String, with subject: String) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        let mark = Array(placeholder.utf8)
        while let first = rest.first {
            if rest.starts(with: mark) {
                bytes += Array(subject.utf8)
                rest = rest.dropFirst(mark.count)
            } else {
                bytes.append(first)
                rest = rest.dropFirst()
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The rate limits of an issuer's subjects: one for each, however many tokens and connections it has.
private final class SubjectLimiters: Sendable {
    /// How many are kept; with more, all begin anew.
    private static let capacity = 100_000

    let limits: RateLimit.Limits?
    private let limiters = Mutex<[String: RateLimiter]>([:])

    init(_ limits: RateLimit.Limits?) {
        self.limits = limits
    }

    func limiter(of subject: String) -> RateLimiter? {
        guard let limits else { return nil }
        return limiters.withLock { limiters in
            if let known = limiters[subject] { return known }
            if limiters.count >= Self.capacity { limiters.removeAll() }
            let new = RateLimiter(limits)
            limiters[subject] = new
            return new
        }
    }
}
