import Access
import Foundation
import Registers

/// The access file, checked, with all that it refers to: what ``AccessControl`` goes by until it is read again.
struct AccessRules: Sendable {
    private(set) var tokens: [String: TokenRule] = [:]
    /// In the order of the file.
    private(set) var issuers: [IssuerRule] = []
    let anonymous: Grant
    private let anonymousRule: AccessFile.Rule?

    /// A token, with the one grant that all its bearers share.
    struct TokenRule: Sendable {
        let entry: AccessFile.Token
        let grant: Grant
    }

    /// - Parameters:
    ///   - file: what was read.
    ///   - folder: what the names of files in it are relative to.
    ///   - old: the rules before: what they have in common keeps its grants, and how much of a limit is used up.
    init(_ file: AccessFile, folder: URL, old: AccessRules? = nil) throws(ServerError) {
        for (index, entry) in (file.tokens ?? []).enumerated() {
            let place = "tokens[\(index)]"
            guard TokenSecret.isValid(id: entry.id) else {
                throw ServerError("\(place).id is \"\(entry.id)\"; it must be 1 to 64 letters, digits, '-' and '_'")
            }
            guard tokens[entry.id] == nil else { throw ServerError("\(place).id is \"\(entry.id)\", as another's is") }
            if let same = old?.tokens[entry.id], same.entry == entry {
                tokens[entry.id] = same
            } else {
                tokens[entry.id] = TokenRule(entry: entry, grant: try Self.grant(entry, place))
            }
        }
        for (index, entry) in (file.issuers ?? []).enumerated() {
            guard !issuers.contains(where: { $0.entry.id == entry.id }) else {
                throw ServerError("issuers[\(index)].id is \"\(entry.id)\", as another's is")
            }
            let same = old?.issuers.first { $0.entry.id == entry.id }
            issuers.append(try IssuerRule(entry, old: same, place: "issuers[\(index)]", folder: folder))
        }
        anonymousRule = file.anonymous
        if let old, old.anonymousRule == file.anonymous {
            anonymous = old.anonymous
        } else if let rule = file.anonymous {
            try Self.check(rule.limits, "anonymous")
            anonymous = Grant(
                .anonymous(isAllowed: true), read: try Self.scope(rule.read, "anonymous.read"),
                write: try Self.scope(rule.write, "anonymous.write"), maximumKeys: rule.limits?.keys,
                rate: rule.limits?.rate.map(RateLimiter.init))
        } else {
            anonymous = Grant(.anonymous(isAllowed: false), read: .nothing, write: .nothing)
        }
    }

    private static func grant(_ entry: AccessFile.Token, _ place: String) throws(ServerError) -> Grant {
        guard entry.sha256.count == 64, entry.sha256.allSatisfy(\.isHexDigit) else {
            throw ServerError("\(place).sha256 is not the 64 hex digits of a SHA-256")
        }
        var expiresAt: WallTime?
        if let text = entry.expires {
            guard let date = try? Date(text, strategy: .iso8601) else {
                throw ServerError("\(place).expires is \"\(text)\", not a time like 2027-01-31T00:00:00Z")
            }
            expiresAt = WallTime(milliseconds: UInt64(max(0, date.timeIntervalSince1970 * 1_000)))
        }
        try check(entry.limits, place)
        return Grant(
            .token(entry.id), read: try scope(entry.read, "\(place).read"),
            write: try scope(entry.write, "\(place).write"), agent: try agent(entry.agent, "\(place).agent"),
            expiresAt: expiresAt, mayMonitor: entry.monitor ?? false, maximumKeys: entry.limits?.keys,
            rate: entry.limits?.rate.map(RateLimiter.init))
    }

    /// What stands for any agent in a rule.
    static let anyAgent = "*"

    /// The agent of a rule; nil for any.
    private static func agent(_ text: String?, _ place: String) throws(ServerError) -> Agent? {
        guard let text, text != anyAgent else { return nil }
        return try fixedAgent(text, place)
    }

    static func fixedAgent(_ text: String, _ place: String) throws(ServerError) -> Agent {
        do throws(TextError) {
            return try Agent(Array(text.utf8).span)
        } catch {
            throw ServerError("\(place): \(error)")
        }
    }

    /// Limits that count nothing, or overflow when they are counted with, are mistakes.
    static func check(_ limits: AccessFile.Limits?, _ place: String) throws(ServerError) {
        for (name, value, range) in [
            ("messages_per_second", limits?.messagesPerSecond, 1...1_000_000_000),
            ("bytes_per_second", limits?.bytesPerSecond, 1...(1 << 40)), ("keys", limits?.keys, 0...1_000_000_000),
        ] {
            guard let value, !(range ~= value) else { continue }
            throw ServerError(
                "\(place).limits.\(name) is \(value); it must be from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// How many patterns a list may have: each is looked at for each thing that is asked.
    private static let maximumPatterns = 1_000
    /// What those may cost together that have wildcards elsewhere than at the end.
    private static let maximumMatchingCost = 256

    /// A rule without a list allows nothing.
    static func scope(_ texts: [String]?, _ place: String) throws(ServerError) -> Scope {
        var patterns: [Pattern] = []
        if let count = texts?.count, count > maximumPatterns {
            throw ServerError("\(place) has \(count) patterns; the limit is \(maximumPatterns)")
        }
        for (index, text) in (texts ?? []).enumerated() {
            do throws(PatternError) {
                patterns.append(try Pattern(text))
            } catch {
                throw ServerError("\(place)[\(index)], \"\(text)\": \(error)")
            }
        }
        let scope = Scope(matching: patterns)
        guard scope.matchingCost <= maximumMatchingCost else {
            throw ServerError(
                "\(place) has patterns with wildcards in the middle that together cost \(scope.matchingCost) to test; the limit "
                    + "is \(maximumMatchingCost), where each costs 1, and 1 more for each 64 characters behind its first wildcard"
            )
        }
        return scope
    }

    /// Why a grant of older rules is not good any more.
    func problem(with grant: Grant) -> AccessRefusal? {
        let grant = grant.basis ?? grant
        return switch grant.source {
        case .noRules: .changed
        case .server: nil
        case .anonymous: grant === anonymous ? nil : .changed
        case .token(let id):
            if let rule = tokens[id] {
                rule.grant === grant ? nil : .changed
            } else {
                .invalid("this token is revoked")
            }
        case .issuer(let id, _, let key, let digest):
            issuers.contains { $0.entry.id == id && $0.isAsItWas(digest, key: key) } ? nil : .changed
        }
    }
}

extension AccessFile.Limits {
    var rate: RateLimit.Limits? {
        messagesPerSecond == nil && bytesPerSecond == nil
            ? nil : RateLimit.Limits(messages: messagesPerSecond, bytes: bytesPerSecond)
    }
}
