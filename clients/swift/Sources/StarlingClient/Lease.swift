public import Foundation
import SyncProtocol
import Synchronization

/// A claim that this client holds, renewed until it is released or lost.
///
/// It is lost when the server says so, when its time has passed without a renewal, and, if it is one that ends with the
/// connection, with that. A process that was paused does not know that yet: writes that must not happen then carry ``fence``.
public final class Lease: Sendable {
    private enum State {
        case held
        case over
        /// The server has said that it is given up: by now it may be another's.
        case released
    }

    /// The key that is claimed.
    public let key: String
    /// What to show with fenced writes. It only rises for a key.
    public let fence: UInt64
    private let client: StarlingClient
    /// The engine's number of the claim.
    private let number: Int
    private let state = Mutex(State.held)
    /// What the server said last, in milliseconds.
    private let lastExpiry: Mutex<Double>
    private let end = Promise<String?>()

    init(_ client: StarlingClient, _ number: Int, _ claim: Claim) {
        self.client = client
        self.number = number
        key = claim.key
        fence = claim.fence
        lastExpiry = Mutex(claim.expiresAt)
    }

    /// Whether it is in force, as far as can be known here.
    public var isHeld: Bool { client.core.perform { $0.engine.isHeld(number) } }

    /// When it ends without a renewal, by the server's clock.
    public var expiresAt: Date {
        let known = client.core.perform { $0.engine.claims[number]?.expiresAt }
        let expiry = lastExpiry.withLock { last in
            last = known ?? last
            return last
        }
        return Date(timeIntervalSince1970: expiry / 1_000)
    }

    /// Waits for its end.
    ///
    /// - Returns: why it was lost; nil when it was given up.
    public var ended: String? {
        get async throws { try await end.value }
    }

    /// Renews it.
    ///
    /// - Parameter value: what the key is to hold from now on; nil leaves it.
    /// - Throws: ``StarlingError`` `held`, `stale_fence`: it is lost; `offline`.
    public func renew(value: (any Encodable & Sendable)? = nil) async throws {
        let json = try value.map { try StarlingClient.json($0, of: key) }
        let answer = try await client.answer(to: { [number] state in try state.engine.renew(number, value: json) })
        if answer.string("type") == "refused" { throw StarlingError(refused: answer) }
    }

    /// Gives it up: from now on it is not held here. Safe to repeat.
    ///
    /// - Throws: ``StarlingError`` `offline`, `outcome_unknown`: the server may keep it until its time is over.
    public func release() async throws {
        if state.withLock({ $0 == .released }) { return }
        client.core.perform { $0.engine.end(claim: number, .givenUp) }
        var message = Message("release")
        message.add("key", key)
        message.add("fence", fence)
        let answer = try await client.ask(message, "release")
        if answer.string("type") == "refused" { throw StarlingError(refused: answer) }
        state.withLock { $0 = .released }
    }

    /// The engine has forgotten it.
    func finish(_ end: ClaimEnd) {
        state.withLock { $0 = end == .released ? .released : .over }
        switch end {
        case .givenUp, .released: self.end.complete(.success(nil))
        case .lost(let reason): self.end.complete(.success(reason))
        }
    }
}

extension StarlingError {
    /// What an answer of `refused` says.
    init(refused answer: JSONObject) {
        let key = answer.string("key") ?? ""
        let code = answer.string("code") ?? "refused"
        let words =
            switch code {
            case "held": "\(key) is held by \(answer.string("holder") ?? "another agent")"
            case "exists": "\(key) has a value that no claim made"
            case "stale_fence": "the claim of \(key) is not in force any more"
            default: "\(key): \(code)"
            }
        self.init(code, words)
    }
}
