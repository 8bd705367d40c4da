package import Access
package import Foundation
import Logging
import Synchronization

/// The authority of a server with an access file: it answers by the rules as they were last read.
package final class AccessControl: Authority {
    private struct State {
        var rules: AccessRules
        var generation: UInt64 = 1
        /// Checks of JSON Web Tokens that are under way.
        var checks = 0
    }

    /// How many JSON Web Tokens are verified at a time; more are refused: signatures cost a hundred times what anything
    /// else does that a stranger can ask for.
    private static let maximumChecks = 256

    package let path: String
    private let state: Mutex<State>

    /// - Throws: ``ServerError`` that says what is wrong with the file, and where.
    package init(path: String) throws(ServerError) {
        self.path = path
        state = Mutex(State(rules: try Self.load(path, old: nil)))
    }

    /// Reads the file again.
    ///
    /// - Throws: ``ServerError``; then the rules stay as they were.
    package func reload() throws(ServerError) {
        let old = state.withLock { $0.rules }
        let new = try Self.load(path, old: old)
        state.withLock { state in
            state.rules = new
            state.generation += 1
        }
    }

    private static func load(_ path: String, old: AccessRules?) throws(ServerError) -> AccessRules {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ServerError("cannot read the access file \(path)")
        }
        do throws(ServerError) {
            return try AccessRules(
                AccessFile(data), folder: URL(filePath: path).deletingLastPathComponent(), old: old)
        } catch {
            throw ServerError("access file \(path): \(error)")
        }
    }

    /// What is wrong with an access file's text, but for the files that it names; nil: nothing.
    package static func problem(inFile data: Data) -> String? {
        do throws(ServerError) {
            var file = try AccessFile(data)
            // Nobody is to read what a text under test names.
            file.issuers = nil
            _ = try AccessRules(file, folder: URL(filePath: "/nowhere"))
            return nil
        } catch {
            return error.description
        }
    }

    /// The files whose contents count: the access file, and those that it names.
    package var files: [String] {
        let folder = URL(filePath: path).deletingLastPathComponent()
        let named = state.withLock { $0.rules.issuers.compactMap { $0.entry.keysFile ?? $0.entry.secretFile } }
        return [path] + named.map { URL(filePath: $0, relativeTo: folder).path }.sorted()
    }

    /// Whose JSON Web Tokens are taken.
    var issuers: [AccessFile.Issuer] { state.withLock { $0.rules.issuers.map(\.entry) } }

    package var anonymous: Grant { state.withLock { $0.rules.anonymous } }

    package var generation: UInt64 { state.withLock { $0.generation } }

    package func problem(with grant: Grant) -> AccessRefusal? {
        state.withLock { $0.rules }.problem(with: grant)
    }

    package func check(
        _ credential: Credential, _ answer: @escaping @Sendable (Result<Grant, AccessRefusal>) -> Void
    ) {
        let rules = state.withLock { $0.rules }
        if credential.secret.utf8.count > Credential.maximumLength {
            return answer(.failure(.invalid("the token is longer than \(Credential.maximumLength) bytes")))
        }
        if let token = TokenSecret(credential.secret) { return answer(Self.check(token, rules)) }
        guard let (header, issuer) = TokenHeader.read(credential.secret) else {
            return answer(.failure(.invalid(Self.unknown)))
        }
        let candidates = rules.issuers.filter { $0.entry.issuer == issuer }
        if candidates.isEmpty { return answer(.failure(.invalid(Self.unknown))) }
        guard begin() else { return answer(.failure(.busy)) }
        let secret = credential.secret
        // Unstructured: verifying is asynchronous, and event loops wait for nothing.
        Task {
            var result: Result<Grant, AccessRefusal> = .failure(.invalid(Self.unknown))
            for rule in candidates {
                result = await rule.check(secret, header, now: SystemClock.now())
                if case .success = result { break }
            }
            state.withLock { $0.checks -= 1 }
            answer(result)
        }
    }

    private func begin() -> Bool {
        state.withLock { state in
            guard state.checks < Self.maximumChecks else { return false }
            state.checks += 1
            return true
        }
    }

    private static let unknown = "this server does not know these credentials"

    private static func check(_ token: TokenSecret, _ rules: AccessRules) -> Result<Grant, AccessRefusal> {
        guard let rule = rules.tokens[token.id], token.matches(rule.entry.sha256) else {
            return .failure(.invalid(unknown))
        }
        if let end = rule.grant.expiresAt, end <= SystemClock.now() { return .failure(.expired) }
        return .success(rule.grant)
    }
}
