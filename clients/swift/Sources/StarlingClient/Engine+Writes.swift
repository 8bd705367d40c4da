import Registers
import SyncProtocol

/// What to do with a write whose stamp the server refused.
public enum RefusedWrite: Sendable {
    /// Stamp it anew, with the server's clock, and send it again.
    case restamp
    /// Give it up, and tell whoever waits for its outcome.
    case drop
}

/// A register that is kept up while there is a connection.
struct Presence: Sendable {
    let key: String
    let value: String
    let metadata: String?
}

/// The client's own writes: stamped here, sent as the connection allows, kept until they are answered.
extension Engine {
    private static let window = 256
    private static let longestPause = 5_000.0
    /// Refusals after which the same write may succeed.
    private static let passing: Set<String> = ["overloaded", "storage_failed", "outcome_unknown", "rate_limited"]

    /// Takes over what an earlier run left.
    mutating func restore(_ records: [WriteRecord]) {
        for record in records.sorted(by: { $0.version < $1.version }) {
            do throws(StarlingError) {
                let register = try record.register()
                clock.receive(register.version.stamp)
                _ = outbox.add(record, register, isStored: true)
            } catch {
                effects.append(.log(.error, "the outbox holds a write that is none: \(error)"))
            }
        }
    }

    private mutating func stamp() -> String {
        let stamp = clock.tick(wallMilliseconds: serverMilliseconds)
        // A name that cannot be part of a version is refused when the client is made.
        return (try? Agent(agent)).map { Version(stamp: stamp, agent: $0).description } ?? ""
    }

    /// Makes a write, seen by this client's subscribers at once.
    ///
    /// - Returns: its token.
    /// - Throws: ``StarlingError`` `outbox_full`, `bad_key`.
    mutating func write(
        _ key: String, value: String?, ttl: Double? = nil, metadata: String? = nil, session: String? = nil
    ) throws(StarlingError) -> Int {
        guard outbox.count < options.outboxLimit else {
            throw StarlingError(
                "outbox_full",
                "\(outbox.count) writes wait for the server; the limit is \(options.outboxLimit) (outboxLimit)")
        }
        let record = WriteRecord(
            key: key, version: stamp(), value: value, ttl: ttl, metadata: metadata, session: session)
        let register = try record.register()
        let token = outbox.add(record, register)
        touch(register.key)
        flush()
        return token
    }

    /// Sends what may be sent now.
    mutating func flush() {
        guard isGreeted, now >= pausedUntil else { return }
        while outbox.inFlightCount < Self.window, let write = outbox.take() {
            var message = Message(write.record.value == nil ? "delete" : "broadcast")
            message.add("id", write.wireID)
            message.add("key", write.record.key)
            message.add("version", write.record.version)
            message.add("value", raw: write.record.value)
            message.add("ttl", write.record.ttl)
            message.add("metadata", raw: write.record.metadata)
            message.add("session", write.record.session)
            effects.append(.send(message.bytes))
        }
    }

    /// The answer to a write.
    ///
    /// - Returns: whether the id is one of ours.
    mutating func answerWrite(_ wireID: Int, _ message: JSONObject) -> Bool {
        guard let write = outbox.find(wireID: wireID) else { return false }
        if message.string("type") == "error" {
            refused(write, message)
        } else {
            pauses = 0
            outbox.finish(write.token)
            if message.bool("applied") == true {
                applied(write, message)
            } else {
                superseded(write, message)
            }
        }
        flush()
        return true
    }

    private mutating func applied(_ write: Outbox.Write, _ message: JSONObject) {
        let revision = message.integer("revision").flatMap { UInt64(exactly: $0) }
        // It is in the database now, and the replica need not wait for the echo.
        confirm(Held(register: write.held.register, revision: revision))
        let outcome = Outcome(
            status: .applied, key: write.record.key, version: message.string("version"), revision: revision,
            isDurable: message.bool("durable") == true, current: nil)
        effects.append(.settled(write: write.token, .success(outcome)))
    }

    private mutating func superseded(_ write: Outbox.Write, _ message: JSONObject) {
        let winner = message.object("winner")
        if winner?.bool("value_omitted") != true, let held = winner?.held(key: write.record.key) {
            confirm(held)
        } else {
            touch(write.held.register.key)
        }
        let outcome = Outcome(
            status: .superseded, key: write.record.key, version: message.string("version"), revision: nil,
            isDurable: false,
            current: message.raw("winner").map { String(decoding: $0, as: UTF8.self) })
        effects.append(.settled(write: write.token, .success(outcome)))
    }

    private mutating func refused(_ write: Outbox.Write, _ message: JSONObject) {
        let error = StarlingError(message)
        if Self.passing.contains(error.code) {
            pauses = min(pauses + 1, 10)
            let pause = options.random() * min(Self.longestPause, 100 * Double(1 << (pauses - 1)))
            pausedUntil = now + Double(message.integer("retry_after_ms") ?? 0) + pause
            outbox.putBack(write.token)
            return
        }
        let choice = options.onRefused(write.record, error)
        if error.code == "drift", let serverTime = message.integer("server_time") { adjustClock(serverTime) }
        if choice == .restamp, error.code == "drift" || error.code == "stale_version",
            let version = try? Version(stamp())
        {
            outbox.restamp(write.token, version)
            touch(write.held.register.key)
        } else {
            outbox.finish(write.token)
            effects.append(.log(.warning, "the write to \(write.record.key) was refused: \(error)"))
            touch(write.held.register.key, cause: "refused")
            effects.append(.settled(write: write.token, .failure(error)))
        }
    }

    /// What was written before the server said which agent we are gets the right name. It is not known to anyone else.
    mutating func renamed(from old: String, to new: String) {
        guard let name = try? Agent(new) else { return }
        for write in outbox.all where write.held.register.version.agent.description == old {
            outbox.restamp(write.token, Version(stamp: write.held.register.version.stamp, agent: name))
            touch(write.held.register.key)
        }
    }

    // MARK: Requests

    /// Asks the server; the answer comes as an effect.
    ///
    /// - Returns: the request's number; nil where there is no connection.
    mutating func request(_ message: Message, _ type: String) -> Int? {
        guard isGreeted else { return nil }
        let number = nextRequest
        nextRequest += 1
        requests[number] = type
        var message = message
        message.add("id", "r\(number)")
        effects.append(.send(message.bytes))
        return number
    }

    mutating func failRequests() {
        for (number, type) in requests.sorted(by: { $0.key < $1.key }) {
            let lost = "the connection was lost before the answer to \(type)"
            let error =
                ["get", "list"].contains(type)
                ? StarlingError("offline", lost)
                : StarlingError("outcome_unknown", "\(lost); it may have been carried out")
            effects.append(.answered(request: number, .failure(error)))
        }
        requests = [:]
    }

    /// Keeps a register up for as long as there is a connection, and again on the next one.
    mutating func present(_ presence: Presence) {
        presences[presence.key] = presence
        if isGreeted { announce(presence) }
    }

    mutating func announce(_ presence: Presence) {
        var message = Message("broadcast")
        message.add("key", presence.key)
        message.add("value", raw: presence.value)
        message.add("metadata", raw: presence.metadata)
        message.add("until", "disconnect")
        effects.append(.send(message.bytes))
    }
}
