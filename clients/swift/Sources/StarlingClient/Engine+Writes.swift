import Registers
import SyncProtocol

/// What to do with a write whose stamp the server refused.
public enum RefusedWrite: Sendable {
    /// Stamp it anew, with the server's clock, and send it again.
    case restamp
    /// Give it up, and tell whoever waits for its outcome.
    case drop
}

/// The client's own writes: stamped here, sent as the connection allows, kept until they are answered.
extension Engine {
    static let widestWindow = 256
    private static let longestPause = 5_000.0
    /// How deep a message may nest (protocol/README.md), without the message's own object.
    private static let maximumDepth = 127
    /// By how much a clock may be wrong before what was stamped by it is stamped anew, in milliseconds.
    private static let tolerance = 1_000.0
    /// Refusals after which the same write may succeed.
    private static let passing: Set<String> = ["overloaded", "storage_failed", "outcome_unknown", "rate_limited"]

    /// Takes over what an earlier run left.
    mutating func restore(_ records: [WriteRecord]) {
        for record in records.sorted(by: { ($0.sequence ?? 0, $0.version) < ($1.sequence ?? 0, $1.version) }) {
            do throws(StarlingError) {
                let register = try record.register()
                clock.receive(register.version.stamp)
                _ = outbox.add(record, register, isOfThisRun: false)
            } catch {
                effects.append(.log(.error, "the outbox holds a write that is none: \(error)"))
            }
        }
    }

    private func version(_ stamp: Stamp) -> Version? {
        // A name that cannot be part of a version is refused when the client is made.
        (try? Agent(agent)).map { Version(stamp: stamp, agent: $0) }
    }

    private mutating func stamp() -> Version? { version(clock.tick(at: serverTime)) }

    /// Prepares a write. Once the outbox's store has kept it, it is made by ``add(_:)``.
    ///
    /// - Throws: ``StarlingError`` `outbox_full`, `bad_key`, `bad_value`, `closed`.
    mutating func prepare(
        _ key: String, value: String?, ttl: Double? = nil, metadata: String? = nil, session: String? = nil
    ) throws(StarlingError) -> WriteRecord {
        if phase == .closed { throw StarlingError("closed", "the client was closed") }
        let limit = options.outboxLimit
        guard outbox.count < limit else {
            throw StarlingError(
                "outbox_full", "\(outbox.count) writes wait for the server; the limit is \(limit) (outboxLimit)")
        }
        try Self.check(ttl: ttl, value: value, metadata: metadata)
        let record = WriteRecord(
            key: key, version: stamp()?.description ?? "", value: value, ttl: ttl, metadata: metadata,
            session: session ?? options.session, sequence: outbox.nextSequence)
        _ = try record.register()
        return record
    }

    /// Makes a write, seen by this client's subscribers at once.
    ///
    /// - Returns: its token.
    mutating func add(_ record: WriteRecord) throws(StarlingError) -> Int {
        let register = try record.register()
        let token = outbox.add(record, register)
        touch(register.key)
        flush()
        return token
    }

    /// Checks what a message is to carry, before the server would have to say so: it could not tell which message it is
    /// that it cannot read.
    static func check(ttl: Double?, value: String?, metadata: String?) throws(StarlingError) {
        if let ttl, !(ttl.isFinite && ttl > 0) {
            throw StarlingError("bad_value", "ttl is \(ttl); it is in seconds, and more than 0")
        }
        for (name, json) in [("value", value), ("metadata", metadata)] {
            guard let json, json.utf8.count > maximumDepth else { continue }
            var scanner = JSONScanner(maximumDepth: maximumDepth)
            if (try? scanner.skipValue(Array(json.utf8).span)) == nil {
                throw StarlingError("bad_value", "the \(name) nests more than \(maximumDepth) levels")
            }
        }
    }

    /// Checks that the server will take a message.
    func checkSize(_ bytes: [UInt8], of what: String) throws(StarlingError) {
        guard bytes.count > longestMessage else { return }
        throw StarlingError(
            "too_large", "the message for \(what) is \(bytes.count) bytes; the server's limit is \(longestMessage)")
    }

    /// Sends what may be sent now: writes in their order, and questions behind the writes that were made before them.
    mutating func flush() {
        guard isGreeted else { return }
        sendQuestions()
        guard now >= pausedUntil else { return }
        pausedUntil = 0
        while outbox.inFlightCount < window, let write = outbox.take() {
            let bytes = Self.message(write)
            do throws(StarlingError) {
                try checkSize(bytes, of: write.record.key)
                asked.sent(.write(write.wireID))
                effects.append(.send(bytes))
            } catch {
                giveUp(write, error)
            }
            sendQuestions()
        }
    }

    private static func message(_ write: Outbox.Write) -> [UInt8] {
        var message = Message(write.record.value == nil ? "delete" : "broadcast")
        message.add("id", write.wireID)
        message.add("key", write.record.key)
        message.add("version", write.record.version)
        message.add("value", raw: write.record.value)
        message.add("ttl", write.record.ttl)
        message.add("metadata", raw: write.record.metadata)
        message.add("session", write.record.session)
        return message.bytes
    }

    /// The answer to a write.
    ///
    /// - Returns: whether the id is one of ours.
    mutating func answerWrite(_ wireID: Int, _ message: JSONObject) -> Bool {
        guard let write = outbox.find(wireID: wireID) else { return false }
        if message.string("type") == "error" {
            refused(write, message)
        } else if message.bool("applied") == true {
            applied(write, message)
        } else {
            superseded(write, message)
        }
        flush()
        return true
    }

    private mutating func finish(_ write: Outbox.Write) {
        pauses = 0
        window = min(Self.widestWindow, window + 1)
        outbox.finish(write.token)
    }

    private mutating func applied(_ write: Outbox.Write, _ message: JSONObject) {
        finish(write)
        var held = write.held
        held.revision = message.integer("revision").flatMap { UInt64(exactly: $0) }
        // It is in the database now, and the replica need not wait for the echo.
        confirm(held)
        let outcome = Outcome(
            status: .applied, key: write.record.key, version: message.string("version"), revision: held.revision,
            isDurable: message.bool("durable") == true, current: nil,
            expiresAt: message.integer("expires_at").flatMap { UInt64(exactly: $0) })
        effects.append(.settled(write: write.token, .success(outcome)))
    }

    private mutating func superseded(_ write: Outbox.Write, _ message: JSONObject) {
        finish(write)
        let winner = message.object("winner")
        if winner?.bool("value_omitted") != true, let held = winner?.held(key: write.record.key) { confirm(held) }
        touch(write.held.register.key)
        let outcome = Outcome(
            status: .superseded, key: write.record.key, version: message.string("version"), revision: nil,
            isDurable: false, current: message.raw("winner").map { String(decoding: $0, as: UTF8.self) })
        effects.append(.settled(write: write.token, .success(outcome)))
    }

    private mutating func refused(_ write: Outbox.Write, _ message: JSONObject) {
        let error = StarlingError(message)
        if Self.passing.contains(error.code) { return passingly(write, message) }
        // A name that is not ours is that of an earlier run, before the server said which one we have.
        let isMisnamed = error.code == "forbidden" && write.held.register.version.agent.description != agent
        let choice = isMisnamed ? .restamp : options.onRefused(write.record, error)
        if error.code == "drift", let serverTime = message.integer("server_time") { adjustClock(serverTime) }
        let isStamp = isMisnamed || error.code == "drift" || error.code == "stale_version"
        if choice == .restamp, isStamp, let version = stamp() {
            outbox.restamp(write.token, version)
            touch(write.held.register.key)
        } else {
            giveUp(write, error)
        }
    }

    /// The server will take it later.
    private mutating func passingly(_ write: Outbox.Write, _ message: JSONObject) {
        if now >= pausedUntil {
            // What is refused together is one refusal.
            window = max(1, window / 2)
            pausedUntil = now + options.random() * min(Self.longestPause, 100 * Double(1 << min(pauses, 10)))
            pauses += 1
        }
        pausedUntil = max(pausedUntil, now + Double(message.integer("retry_after_ms") ?? 0))
        outbox.putBack(write.token)
    }

    private mutating func giveUp(_ write: Outbox.Write, _ error: StarlingError) {
        finish(write)
        effects.append(.log(.warning, "the write to \(write.record.key) was refused: \(error)"))
        touch(write.held.register.key, cause: "refused")
        effects.append(.settled(write: write.token, .failure(error)))
    }

    /// The server says which agent we are: no write of another one would be taken.
    mutating func renamed() {
        for write in outbox.all where write.held.register.version.agent.description != agent {
            restamp(write, write.held.register.version.stamp)
        }
    }

    /// The first server says that our clock, by which the writes so far were stamped, is wrong by so many milliseconds.
    /// None of them has been sent: they get the stamps that they would have got by a right clock.
    mutating func corrected(by offset: Double) {
        guard abs(offset) >= Self.tolerance else { return }
        clock = HybridLogicalClock(last: received)
        for write in outbox.all where write.isOfThisRun {
            let milliseconds = Double(write.held.register.version.stamp.milliseconds) + offset
            let wall = UInt64(min(max(0, milliseconds), Double(Stamp.maximumMilliseconds)))
            restamp(write, clock.tick(at: WallTime(milliseconds: wall)))
        }
    }

    private mutating func restamp(_ write: Outbox.Write, _ stamp: Stamp) {
        guard let version = version(stamp) else { return }
        outbox.restamp(write.token, version)
        touch(write.held.register.key)
    }
}
