public import Foundation
import SyncProtocol
import Synchronization

/// A claim that this client holds, renewed until it is released or lost.
///
/// It is lost when the server says so, when its time has passed without a renewal, and, if it is one that ends with the
/// connection, with that. A process that was paused does not know that yet: writes that must not happen then carry ``fence``.
public final class Lease: Sendable {
    private static let retry = Duration.seconds(1)

    private struct State {
        var ttl: Duration?
        var expiresAt: UInt64
        /// When it has certainly ended, by a clock that nobody sets: its time, counted from when it was asked for.
        var validUntil: ContinuousClock.Instant?
        var isOver = false
        /// Whether the server has said that it is given up: by now it may be another's.
        var isReleased = false
        var renewal: Task<Void, Never>?
    }

    /// The key that is claimed.
    public let key: String
    /// What to show with fenced writes. It only rises for a key.
    public let fence: UInt64
    let endsWithConnection: Bool
    private let client: StarlingClient
    private let state: Mutex<State>
    private let end = Promise<String?>()

    init(
        _ client: StarlingClient, _ answer: JSONObject, ttl: Duration?, endsWithConnection: Bool,
        askedAt: ContinuousClock.Instant
    ) {
        self.client = client
        self.endsWithConnection = endsWithConnection
        key = answer.string("key") ?? ""
        fence = answer.integer("fence").flatMap { UInt64(exactly: $0) } ?? 0
        let expiresAt = answer.integer("expires_at").flatMap { UInt64(exactly: $0) } ?? 0
        state = Mutex(State(ttl: ttl, expiresAt: expiresAt, validUntil: ttl.map { askedAt + $0 }))
    }

    /// Whether it is in force, as far as can be known here.
    public var isHeld: Bool {
        // The client's lock is never taken inside of this one.
        let serverNow = client.serverNow
        return state.withLock { state in
            if state.isOver { return false }
            guard let validUntil = state.validUntil else { return true }
            return ContinuousClock.now < validUntil && serverNow < Double(state.expiresAt)
        }
    }

    /// When it ends without a renewal, by the server's clock.
    public var expiresAt: Date { Date(timeIntervalSince1970: Double(state.withLock(\.expiresAt)) / 1_000) }

    /// Waits for its end.
    ///
    /// - Returns: why it was lost; nil when it was given up.
    public var ended: String? {
        get async throws { try await end.value }
    }

    /// Renews it from time to time, two thirds of its time before its end, and notices when it was too late.
    func keepUp() {
        guard let ttl = state.withLock(\.ttl) else { return }
        let task = Task { [weak self] in
            var pause = ttl / 3
            while !Task.isCancelled {
                try? await Task.sleep(for: pause)
                guard let lease = self, !Task.isCancelled else { return }
                guard lease.isHeld else { return lease.lose("expired") }
                let isRenewed = (try? await lease.renew()) != nil
                pause = isRenewed ? ttl / 3 : min(Self.retry, ttl / 6)
            }
        }
        let isOver = state.withLock { state in
            state.renewal = task
            return state.isOver
        }
        if isOver { task.cancel() }
    }

    /// Renews it.
    ///
    /// - Parameter value: what the key is to hold from now on; nil leaves it.
    /// - Throws: ``StarlingError`` `held`, `stale_fence`: it is lost; `offline`.
    public func renew(value: (any Encodable & Sendable)? = nil) async throws {
        let askedAt = ContinuousClock.now
        let ttl = state.withLock(\.ttl)
        var message = Message("renew")
        message.add("key", key)
        message.add("fence", fence)
        message.add("ttl", ttl.map { $0 / .seconds(1) })
        message.add("value", raw: try value.map { try StarlingClient.json($0, of: key) })
        let answer = try await client.ask(message, "renew")
        if answer.string("type") == "refused" {
            lose(answer.string("code") ?? "refused")
            throw StarlingError(refused: answer)
        }
        state.withLock { state in
            state.expiresAt = answer.integer("expires_at").flatMap { UInt64(exactly: $0) } ?? state.expiresAt
            state.validUntil = ttl.map { askedAt + $0 }
        }
    }

    /// Gives it up: from now on it is not held here. Safe to repeat.
    ///
    /// - Throws: ``StarlingError`` `offline`, `outcome_unknown`: the server may keep it until its time is over.
    public func release() async throws {
        if state.withLock(\.isReleased) { return }
        lose(nil)
        var message = Message("release")
        message.add("key", key)
        message.add("fence", fence)
        let answer = try await client.ask(message, "release")
        if answer.string("type") == "refused" { throw StarlingError(refused: answer) }
        wasReleased()
    }

    /// The server says that it is given up.
    func wasReleased() { state.withLock { $0.isReleased = true } }

    func lose(_ reason: String?) {
        client.core.perform { client.core.lose(self, reason, &$0) }
    }

    /// The client has forgotten it.
    func finish(_ reason: String?) {
        let wasHeld = state.withLock { state in
            state.renewal?.cancel()
            state.renewal = nil
            defer { state.isOver = true }
            return !state.isOver
        }
        if wasHeld { end.complete(.success(reason)) }
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
