import Foundation
import Registers
import SyncProtocol

/// A write that is on its way.
public struct PendingWrite: Sendable {
    /// The key that it sets or deletes.
    public let key: String
    let promise: Promise<Outcome>

    /// What becomes of it. It need not be asked for.
    ///
    /// - Throws: ``StarlingError``: what the server has against it; `CancellationError`, which leaves the write as it is.
    public var outcome: Outcome {
        get async throws { try await promise.value }
    }
}

/// The fence of a claim, to be shown with a write.
public struct Fence: Sendable {
    /// The key that is claimed.
    public let key: String
    /// What the claim was given; it only rises for a key.
    public let token: UInt64

    /// The fence of a claim that this client holds.
    public init(_ lease: Lease) {
        key = lease.key
        token = lease.fence
    }
}

/// When a write is to be made.
public enum Expectation: Sendable {
    /// Only where there is nothing.
    case absent
    /// Only over this version.
    case version(String)
}

extension StarlingClient {
    static func json(_ value: any Encodable, of key: String) throws(StarlingError) -> String {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .withoutEscapingSlashes
            return String(decoding: try encoder.encode(value), as: UTF8.self)
        } catch {
            throw StarlingError("bad_value", "the value of \(key) has no JSON: \(error)")
        }
    }

    /// Sets a key: at once for this client's own readers, and on the server as soon as there is one.
    ///
    /// - Parameter ttl: how long it is to live; nil: for ever.
    /// - Throws: ``StarlingError`` `bad_value`, `bad_key`, `outbox_full`, `outbox_failed`, `closed`.
    @discardableResult
    public func broadcast(
        _ key: String, _ value: any Encodable, ttl: Duration? = nil, metadata: (any Encodable)? = nil,
        session: String? = nil
    ) throws -> PendingWrite {
        try write(
            key, Self.json(value, of: key), ttl, try metadata.map { try Self.json($0, of: key) }, session)
    }

    /// Deletes a key, as ``broadcast(_:_:ttl:metadata:session:)`` sets it.
    @discardableResult
    public func delete(_ key: String, metadata: (any Encodable)? = nil, session: String? = nil) throws -> PendingWrite {
        try write(key, nil, nil, try metadata.map { try Self.json($0, of: key) }, session)
    }

    /// - Parameters:
    ///   - value: its JSON; nil: it is deleted.
    ///   - metadata: its JSON.
    func write(
        _ key: String, _ value: String?, _ ttl: Duration?, _ metadata: String?, _ session: String?
    ) throws -> PendingWrite {
        let promise = Promise<Outcome>()
        try core.perform { state in
            let record = try state.engine.prepare(
                key, value: value, ttl: ttl.map { $0 / .seconds(1) }, metadata: metadata, session: session)
            try core.make(record, promise, &state)
        }
        return PendingWrite(key: key, promise: promise)
    }

    /// Sets a key if a condition holds. It is not queued.
    ///
    /// - Returns: what became of it: `condition` where the expectation was not met.
    /// - Throws: ``StarlingError`` `offline`, `outcome_unknown`, and what the server has against it.
    public func broadcast(
        _ key: String, _ value: any Encodable, expecting expectation: Expectation, ttl: Duration? = nil
    ) async throws -> Outcome {
        var message = try Self.message(key, value, ttl)
        switch expectation {
        case .absent: message.add("expect", raw: "null")
        case .version(let version): message.add("expect", version)
        }
        return Outcome(key, try await ask(message, "broadcast"))
    }

    /// Sets a key if a claim is in force in that moment. It is not queued.
    ///
    /// - Throws: ``StarlingError`` `stale_fence`, `offline`, `outcome_unknown`, and what the server has against it.
    public func broadcast(
        _ key: String, _ value: any Encodable, fence: Fence, ttl: Duration? = nil
    ) async throws -> Outcome {
        var message = try Self.message(key, value, ttl)
        var shown = Message("fence")
        shown.add("key", fence.key)
        shown.add("token", fence.token)
        message.add("fence", raw: String(decoding: shown.bytes, as: UTF8.self))
        return Outcome(key, try await ask(message, "broadcast"))
    }

    private static func message(_ key: String, _ value: any Encodable, _ ttl: Duration?) throws -> Message {
        try check(key: key)
        var message = Message("broadcast")
        message.add("key", key)
        message.add("value", raw: try json(value, of: key))
        message.add("ttl", ttl.map { $0 / .seconds(1) })
        try Engine.check(ttl: ttl.map { $0 / .seconds(1) }, value: try json(value, of: key), metadata: nil)
        return message
    }

    /// Shows a value to whoever is subscribed now, and stores nothing. It is not queued.
    ///
    /// - Throws: ``StarlingError`` `offline`.
    public func broadcastTransient(_ key: String, _ value: any Encodable) async throws {
        var message = try Self.message(key, value, nil)
        message.add("transient", true)
        _ = try await ask(message, "broadcast")
    }

    /// The writes that wait for their answer, oldest first, also those that an earlier run left.
    public var pendingWrites: [PendingWrite] {
        core.perform { state in
            state.engine.outbox.all.map { write in
                let promise = state.writes[write.token] ?? Promise()
                state.writes[write.token] = promise
                return PendingWrite(key: write.record.key, promise: promise)
            }
        }
    }

    /// Waits until each write made so far has its final answer.
    public func drained() async {
        for write in pendingWrites { _ = try? await write.outcome }
    }

    // MARK: Asking the server

    func ask(
        _ message: Message, _ type: String, timeout: Duration = StarlingClient.patience
    ) async throws -> JSONObject {
        try await ask(message, type, timeout) { answer, _ in answer }
    }

    /// How long a question may wait for a connection that is being made.
    public static let patience = Duration.seconds(10)

    /// Asks the server.
    ///
    /// - Parameter take: makes the result of the answer, before anything else comes from the server.
    func ask<Result: Sendable>(
        _ message: Message, _ type: String, _ timeout: Duration,
        take: @escaping @Sendable (JSONObject, inout Core.State) throws -> Result
    ) async throws -> Result {
        try await answer(
            to: { state in try state.engine.request(message, type, timeout: timeout / .milliseconds(1)) }, take: take)
    }

    /// Waits for the answer to a request.
    func answer(
        to request: @Sendable (inout Core.State) throws -> Int
    ) async throws -> JSONObject {
        try await answer(to: request) { answer, _ in answer }
    }

    private func answer<Result: Sendable>(
        to request: (inout Core.State) throws -> Int,
        take: @escaping @Sendable (JSONObject, inout Core.State) throws -> Result
    ) async throws -> Result {
        let promise = Promise<Result>()
        try core.perform { state in
            let number = try request(&state)
            state.requests[number] = { answer, state in
                promise.complete(Swift.Result { try take(try answer.get(), &state) })
            }
        }
        return try await promise.value
    }

    static func check(key: String) throws(StarlingError) {
        do throws(TextError) {
            _ = try Key(key)
        } catch {
            throw StarlingError("bad_key", error.description)
        }
    }

    /// Asks the server for a key, whether it is subscribed to or not. It sees the writes that this client made before.
    ///
    /// - Parameter timeout: how long to wait for a connection that is being made.
    /// - Throws: ``StarlingError`` `bad_key`, `offline`, `forbidden`.
    public func fetch(_ key: String, timeout: Duration = StarlingClient.patience) async throws -> Update? {
        try Self.check(key: key)
        var message = Message("get")
        message.add("key", key)
        return try await ask(message, "get", timeout: timeout).held(key: key).map { Update($0) }
    }

    /// Lets a key live longer, from now: its value and version stay. A time that is not later than its own changes nothing.
    ///
    /// - Returns: whether there is such a key.
    /// - Throws: ``StarlingError`` `held` (by a claim), `bad_key`, `bad_value`, `offline`, `forbidden`.
    @discardableResult
    public func touch(
        _ key: String, ttl: Duration, timeout: Duration = StarlingClient.patience
    ) async throws -> Bool {
        try Self.check(key: key)
        let seconds = ttl / .seconds(1)
        try Engine.check(ttl: seconds, value: nil, metadata: nil)
        var message = Message("touch")
        message.add("key", key)
        message.add("ttl", seconds)
        return try await ask(message, "touch", timeout: timeout).bool("applied") == true
    }

    /// All registers on the server that match, by key, read page by page.
    ///
    /// - Throws: ``StarlingError`` `offline`, `forbidden`.
    public func fetchAll(_ pattern: String = "*", pageSize: Int = 1_000) async throws -> [Update] {
        _ = try Self.pattern(pattern)
        var found: [Update] = []
        var after: String?
        repeat {
            var message = Message("list")
            message.add("pattern", pattern)
            message.add("limit", pageSize)
            message.add("after", after)
            let answer = try await ask(message, "list")
            found += (answer.array("registers") ?? []).compactMap { try? JSONObject($0).held().map { Update($0) } }
            after = answer.string("next")
        } while after != nil
        return found
    }

    // MARK: Claims and presence

    /// Claims a key: one holder at a time. The claim is renewed until it is released or lost.
    ///
    /// - Parameters:
    ///   - ttl: how long it holds without a renewal; 30 s unless it ends with the connection.
    ///   - value: what the key holds meanwhile; nil: who claimed it.
    ///   - untilDisconnect: whether it ends with the connection.
    ///   - timeout: how long to wait for a connection that is being made.
    /// - Throws: ``StarlingError`` `held` (by somebody), `exists`, `offline`.
    public func claim(
        _ key: String, ttl: Duration? = nil, value: (any Encodable)? = nil, untilDisconnect: Bool = false,
        timeout: Duration = StarlingClient.patience
    ) async throws -> Lease {
        try Self.check(key: key)
        let ttl = ttl ?? (untilDisconnect ? nil : .seconds(30))
        try Engine.check(
            ttl: ttl.map { $0 / .seconds(1) }, value: try value.map { try Self.json($0, of: key) }, metadata: nil)
        var message = Message("claim")
        message.add("key", key)
        message.add("ttl", ttl.map { $0 / .seconds(1) })
        message.add("until", untilDisconnect ? "disconnect" : nil)
        message.add("value", raw: try value.map { try Self.json($0, of: key) })
        message.add("op", String(UInt64.random(in: .min ... .max), radix: 16) + UUID().uuidString)
        let askedAt = core.perform { $0.engine.now }
        return try await ask(message, "claim", timeout) { [self] answer, state in
            if answer.string("type") == "refused" { throw StarlingError(refused: answer) }
            let number = state.engine.hold(
                answer, ttl: ttl.map { $0 / .milliseconds(1) }, endsWithConnection: untilDisconnect, askedAt: askedAt)
            guard let claim = state.engine.claims[number] else { preconditionFailure("it was just made") }
            let lease = Lease(self, number, claim)
            state.leases[number] = lease
            return lease
        }
    }

    /// Keeps a register up while this client is connected. ``leave(_:)`` takes it down.
    ///
    /// A key is one register: where the same person or agent may be there several times (two windows, two processes), give each a
    /// key of its own (`here:<room>:<name>:<UUID>`) and list `here:<room>:<name>:*`; else the first to leave takes it down for all.
    ///
    /// - Throws: ``StarlingError`` `bad_key`, `bad_value`.
    public func presence(_ key: String, _ value: any Encodable, metadata: (any Encodable)? = nil) throws {
        try Self.check(key: key)
        try Engine.check(
            ttl: nil, value: try Self.json(value, of: key), metadata: try metadata.map { try Self.json($0, of: key) })
        let presence = Presence(
            key: key, value: try Self.json(value, of: key), metadata: try metadata.map { try Self.json($0, of: key) })
        core.perform { $0.engine.present(presence) }
    }

    /// Takes a presence down.
    ///
    /// - Throws: ``StarlingError`` `outcome_unknown`.
    public func leave(_ key: String) async throws {
        let isUp = core.perform { $0.engine.presences.removeValue(forKey: key) != nil && $0.engine.isGreeted }
        // Without a connection it has ended with that already.
        guard isUp else { return }
        var message = Message("delete")
        message.add("key", key)
        _ = try await ask(message, "delete")
    }
}

extension Outcome {
    init(_ key: String, _ answer: JSONObject) {
        let reason = answer.string("reason").flatMap(Status.init)
        self.init(
            status: answer.bool("applied") == true ? .applied : reason ?? .superseded, key: key,
            version: answer.string("version"), revision: answer.integer("revision").flatMap { UInt64(exactly: $0) },
            isDurable: answer.bool("durable") == true,
            current: (answer.raw("current") ?? answer.raw("winner")).map { String(decoding: $0, as: UTF8.self) },
            expiresAt: answer.integer("expires_at").flatMap { UInt64(exactly: $0) },
            isJudged: answer.bool("judged") == true)
    }
}
