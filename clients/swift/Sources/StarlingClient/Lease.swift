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
        var expiresAt: UInt64
        var isHeld = true
        var renewal: Task<Void, Never>?
    }

    /// The key that is claimed.
    public let key: String
    /// What to show with fenced writes. It only rises for a key.
    public let fence: UInt64
    private let ttl: Duration?
    private let endsWithConnection: Bool
    private let client: StarlingClient
    private let state: Mutex<State>
    private let end = Promise<String?>()

    init(_ client: StarlingClient, _ answer: JSONObject, ttl: Duration?, endsWithConnection: Bool) {
        self.client = client
        self.ttl = ttl
        self.endsWithConnection = endsWithConnection
        key = answer.string("key") ?? ""
        fence = answer.integer("fence").flatMap { UInt64(exactly: $0) } ?? 0
        state = Mutex(State(expiresAt: answer.integer("expires_at").flatMap { UInt64(exactly: $0) } ?? 0))
    }

    /// Whether it is held, as far as this client knows.
    public var isHeld: Bool { state.withLock(\.isHeld) }

    /// When it ends without a renewal, by the server's clock.
    public var expiresAt: Date { Date(timeIntervalSince1970: Double(state.withLock(\.expiresAt)) / 1_000) }

    /// Waits for its end.
    ///
    /// - Returns: why it was lost; nil when it was released.
    public var ended: String? {
        get async throws { try await end.value }
    }

    /// Renews it from time to time, two thirds of its time before its end.
    func keepUp() {
        guard let ttl else { return }
        let task = Task { [weak self] in
            var pause = ttl / 3
            while !Task.isCancelled {
                try? await Task.sleep(for: pause)
                guard let lease = self, lease.isHeld, !Task.isCancelled else { return }
                pause = await lease.renewOrLose() ? ttl / 3 : min(Self.retry, ttl / 6)
            }
        }
        state.withLock { $0.renewal = task }
    }

    private func renewOrLose() async -> Bool {
        do {
            try await renew()
            return true
        } catch {
            let isOver = state.withLock { Double($0.expiresAt) <= client.serverNow }
            if !endsWithConnection, isOver { lose("expired") }
            return false
        }
    }

    /// Renews it.
    ///
    /// - Parameter value: what the key is to hold from now on; nil leaves it.
    /// - Throws: ``StarlingError`` `held`, `stale_fence`: it is lost; `offline`.
    public func renew(value: (any Encodable & Sendable)? = nil) async throws {
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
        state.withLock { $0.expiresAt = answer.integer("expires_at").flatMap { UInt64(exactly: $0) } ?? $0.expiresAt }
    }

    /// Gives it up. Safe to repeat.
    ///
    /// - Throws: ``StarlingError`` `offline`, `outcome_unknown`.
    public func release() async throws {
        var message = Message("release")
        message.add("key", key)
        message.add("fence", fence)
        let answer = try await client.ask(message, "release")
        if answer.string("type") == "refused" { throw StarlingError(refused: answer) }
        finish(nil)
    }

    /// The connection is gone.
    func disconnected() {
        // Not at once: whoever tells holds the client's lock.
        if endsWithConnection { Task { lose("disconnected") } }
    }

    func lose(_ reason: String) { finish(reason) }

    private func finish(_ reason: String?) {
        let wasHeld = state.withLock { state in
            state.renewal?.cancel()
            state.renewal = nil
            defer { state.isHeld = false }
            return state.isHeld
        }
        guard wasHeld else { return }
        client.forget(self)
        end.complete(.success(reason))
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
