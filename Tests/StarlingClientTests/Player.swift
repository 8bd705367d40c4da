import Foundation
import Registers
import SyncProtocol
import Synchronization
import TestSupport

@testable import StarlingClient

/// Plays a transcript of protocol/vectors/clients.json against an engine.
final class Player {
    private final class Time: Sendable {
        private let value = Mutex(1_700_000_000_000.0)
        /// By how much the machine's clock was set ahead.
        private let offset = Mutex(0.0)
        var ahead: Double {
            get { offset.withLock { $0 } }
            set { offset.withLock { $0 = newValue } }
        }
        var now: Double {
            get { value.withLock { $0 } }
            set { value.withLock { $0 = newValue } }
        }
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let time = Time()
    private let urls: [String]
    private let session: String?
    private var engine: Engine
    private var dials: [String] = []
    private var sent: [[String: Any]] = []
    private var pings = 0
    private var isMute = false
    private var names: [String: Any] = [:]
    private var subscriptions: [String: Int] = [:]
    private var told: [Int: [Update]] = [:]
    private var ended: [Int: StarlingError] = [:]
    private var writes: [String: Int] = [:]
    private var requests: [String: Int] = [:]
    private var failed: [String: StarlingError] = [:]
    private var settled: [Int: Result<Outcome, StarlingError>] = [:]
    private var answered: [Int: Result<JSONObject, StarlingError>] = [:]
    private var stored: [String: WriteRecord] = [:]
    private var claims: [String: Int] = [:]
    private var claimEnds: [Int: ClaimEnd] = [:]
    /// Claims that are asked for: by their names, the request, and what was wanted of it.
    private var asked: [String: (request: Int, ttl: Double?, until: String?, at: Double)] = [:]
    private var state = ConnectionState.offline

    init(_ transcript: [String: Any]) {
        urls = transcript["urls"] as? [String] ?? ["ws://one/sync"]
        session = transcript["session"] as? String
        engine = Self.engine(urls, session, time)
        engine.begin([])
        carryOut()
    }

    private static func engine(_ urls: [String], _ session: String?, _ time: Time) -> Engine {
        var options = Engine.Options(
            urls: urls, now: { time.now }, wall: { time.now + time.ahead }, random: { 0.5 })
        options.session = session
        options.agent = "me"
        return Engine(options)
    }

    private func carryOut() {
        for effect in engine.takeEffects() {
            switch effect {
            case .dial(let url): dials.append(url)
            case .send(let bytes): hear(bytes)
            case .tell(let id, _, let update): told[id, default: []].append(update)
            case .ended(let id, let error):
                told[id] = nil
                ended[id] = error
            case .settled(let token, let result): settled[token] = result
            case .answered(let request, let result): answered[request] = result
            case .store(.replace(let version, let record)):
                stored[version] = nil
                stored[record.version] = record
            case .store(.remove(let version)): stored[version] = nil
            case .store(.collapsed(let token, let key, let version)):
                settled[token] = .success(
                    Outcome(
                        status: .superseded, key: key, version: version, revision: nil, isDurable: false, current: nil))
            case .state(let next): state = next
            case .claimEnded(let claim, let end): claimEnds[claim] = end
            case .hangUp, .probe, .log, .synced, .verdict: break
            }
        }
    }

    private func hear(_ bytes: [UInt8]) {
        let message = (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any] ?? [:]
        switch message["type"] as? String {
        case "ping": if !isMute { pings += 1 }
        case "hello": break
        default: sent.append(message)
        }
    }

    private func receive(_ message: Any) throws {
        let data = try JSONSerialization.data(withJSONObject: message, options: .withoutEscapingSlashes)
        engine.received(Array(data))
        carryOut()
    }

    private func answerPings() {
        for _ in 0..<pings { engine.received(Array(#"{"type":"pong","id":"ping"}"#.utf8)) }
        pings = 0
        carryOut()
    }

    private func require(_ condition: Bool, _ complaint: @autoclosure () -> String) throws {
        if !condition { throw Failure(description: complaint()) }
    }

    func step(_ step: [String: Any]) throws {
        if let fields = step["connect"] as? [String: Any] {
            try connect(fields, as: step["agent"] as? String ?? "me")
        } else if step["drop"] != nil {
            engine.dropped("played")
        } else if let what = step["user"] as? String {
            user(what, step)
        } else if step["restart"] != nil {
            restart()
        } else if step["mute"] != nil {
            isMute = true
        } else if let milliseconds = step["advance"] as? Double {
            advance(milliseconds)
        } else if step["told"] != nil || step["quiet"] != nil || step["outcome"] != nil || step["sees"] != nil {
            try expect(step)
        } else if try !act(step) {
            try look(step)
        }
        carryOut()
        answerPings()
    }

    private func connect(_ fields: [String: Any], as agent: String) throws {
        try require(!dials.isEmpty, "the client asks for no connection")
        dials = []
        var welcome: [String: Any] = [
            "type": "welcome", "epoch": "e", "cursor": "e:0", "agent": "anon-1", "limits": ["drift_ms": 60_000],
            "time": Int(time.now),
        ]
        welcome.merge(fields) { $1 }
        try receive(welcome)
        welcome["agent"] = agent
        try receive(welcome)
    }

    private func user(_ what: String, _ step: [String: Any]) {
        switch what {
        case "disconnect": engine.disconnect()
        case "reconnect": engine.reconnect()
        case "close": engine.close()
        default: time.ahead = step["ahead"] as? Double ?? 0
        }
    }

    private func restart() {
        engine.close()
        carryOut()
        dials = []
        engine = Self.engine(urls, session, time)
        engine.begin(Array(stored.values))
    }

    private func advance(_ milliseconds: Double) {
        let end = time.now + milliseconds
        carryOut()
        while engine.deadline <= end {
            time.now = max(time.now, engine.deadline)
            engine.tick()
            carryOut()
            answerPings()
        }
        time.now = end
    }

    /// - Returns: whether it was something that the user or the server does.
    private func act(_ step: [String: Any]) throws -> Bool {
        let options = step["options"] as? [String: Any] ?? [:]
        if let pattern = step["subscribe"] as? String, let name = step["as"] as? String {
            subscriptions[name] = engine.subscribe(
                try Pattern(pattern), snapshot: options["snapshot"] as? Bool ?? true,
                echo: options["echo"] as? Bool ?? true)
        } else if let name = step["unsubscribe"] as? String {
            engine.unsubscribe(subscriptions[name] ?? 0)
        } else if let key = step["write"] as? String, let name = step["as"] as? String {
            try write(key, name, step, options)
        } else if let key = step["claim"] as? String, let name = step["as"] as? String {
            var message = Message("claim")
            message.add("key", key)
            for (option, value) in options { message.add(option, raw: try json(value)) }
            message.add("op", "op")
            asked[name] = (
                try engine.request(message, "claim"), (options["ttl"] as? Double).map { $0 * 1_000 },
                options["until"] as? String, time.now
            )
        } else if let name = step["renew"] as? String {
            _ = try engine.renew(claims[name] ?? 0, value: json(step["value"]))
        } else if let name = step["release"] as? String, let number = claims[name], let claim = engine.claims[number] {
            engine.end(claim: number, .givenUp)
            var message = Message("release")
            message.add("key", claim.key)
            message.add("fence", claim.fence)
            _ = try engine.request(message, "release")
        } else if let message = step["receives"] {
            try receive(fill(message))
            for (name, claim) in asked {
                guard case .success(let answer)? = answered[claim.request] else { continue }
                asked[name] = nil
                if answer.string("type") == "refused" {
                    failed[name] = StarlingError(refused: answer)
                } else {
                    claims[name] = engine.hold(
                        answer, ttl: claim.ttl, endsWithConnection: claim.until == "disconnect", askedAt: claim.at)
                }
            }
        } else if let text = step["text"] as? String {
            engine.received(Array(text.utf8))
        } else {
            return false
        }
        return true
    }

    private func json(_ value: Any?) throws -> String? {
        try value.map {
            let data = try JSONSerialization.data(
                withJSONObject: $0, options: [.fragmentsAllowed, .withoutEscapingSlashes])
            return String(decoding: data, as: UTF8.self)
        }
    }

    private func write(_ key: String, _ name: String, _ step: [String: Any], _ options: [String: Any]) throws {
        let (value, ttl) = (try json(step["value"]), step["ttl"] as? Double ?? options["ttl"] as? Double)
        do throws(StarlingError) {
            if options.isEmpty {
                let metadata = try? json(step["metadata"])
                let record = try engine.prepare(key, value: value, ttl: ttl, metadata: metadata ?? nil)
                stored[record.version] = record
                writes[name] = try engine.add(record)
                return
            }
            try Engine.check(ttl: ttl, value: value, metadata: nil)
            var message = Message("broadcast")
            message.add("key", key)
            message.add("value", raw: value)
            for (option, value) in options { message.add(option, raw: (try? json(value)) ?? nil) }
            requests[name] = try engine.request(message, "broadcast")
        } catch {
            failed[name] = error
        }
    }

    /// What the subscribers, the writers and the readers are to see.
    private func expect(_ step: [String: Any]) throws {
        if let name = step["told"] as? String, let id = subscriptions[name] {
            try require(told[id]?.isEmpty == false, "\(name) is told nothing")
            let update = told[id]?.removeFirst()
            try match(step["update"] ?? [:], try update.map(Self.describe) ?? [:], "")
        } else if let name = step["quiet"] as? String, let id = subscriptions[name] {
            try require(told[id]?.isEmpty ?? true, "\(name) is told \(told[id] ?? [])")
        } else if let name = step["outcome"] as? String {
            try expectOutcome(name, step)
        } else if let key = step["sees"] as? String {
            let value = engine.read(try Key(key))?.held.register.value
            let actual = try value.map {
                try JSONSerialization.jsonObject(with: Data($0), options: .fragmentsAllowed)
            }
            try match(step["value"] ?? NSNull(), actual ?? NSNull(), key)
        }
    }

    private func expectOutcome(_ name: String, _ step: [String: Any]) throws {
        let result: Result<Outcome, StarlingError>? =
            if let error = failed[name] {
                .failure(error)
            } else if let request = requests[name] {
                answered[request]?.map { Outcome($0.string("key") ?? "", $0) }
            } else {
                writes[name].flatMap { settled[$0] }
            }
        if step["pending"] != nil { return try require(result == nil, "\(name): \(String(describing: result))") }
        guard let result else { throw Failure(description: "\(name) has no outcome") }
        switch result {
        case .failure(let error): try require(error.code == step["error"] as? String, "\(name): \(error)")
        case .success(let outcome):
            var actual: [String: Any] = ["status": outcome.status.rawValue]
            actual["version"] = outcome.version
            actual["revision"] = outcome.revision
            try match(step["is"] ?? ["error"], actual, name)
        }
    }

    private func look(_ step: [String: Any]) throws {
        if let url = step["dials"] {
            if url as? String == "$any" { return try require(!dials.isEmpty, "the client dials nowhere") }
            try require(dials.last == url as? String, "the client dials \(dials)")
        } else if let expected = step["sends"] {
            try require(!sent.isEmpty, "the client sends nothing")
            try match(expected, sent.removeFirst(), "")
        } else if let name = step["holds"] as? String {
            let isHeld = engine.isHeld(claims[name] ?? 0)
            try require(isHeld == step["is"] as? Bool, "\(name) is held: \(isHeld)")
        } else if let name = step["lost"] as? String {
            let end = claimEnds[claims[name] ?? 0]
            let expected = (step["reason"] as? String).map { ClaimEnd.lost($0) } ?? .givenUp
            try require(end == expected, "\(name) ended by \(String(describing: end))")
        } else if step["silent"] != nil {
            try require(sent.isEmpty, "the client sends \(sent)")
        } else if let name = step["failed"] as? String {
            try require(ended[subscriptions[name] ?? 0]?.code == step["error"] as? String, "\(name) has not failed so")
        } else if let expected = step["state"] as? String {
            try require(state.rawValue == expected, "the client is \(state)")
        } else {
            throw Failure(description: "there is no such step")
        }
    }

    private static func describe(_ update: Update) throws -> [String: Any] {
        var fields: [String: Any] = [
            "key": update.key, "deleted": update.isDeleted, "pending": update.isPending,
            "transient": update.isTransient,
            "version": update.version,
        ]
        if let json = update.json {
            fields["value"] = try JSONSerialization.jsonObject(with: Data(json.utf8), options: .fragmentsAllowed)
        }
        fields["cause"] = update.cause
        fields["session"] = update.session
        fields["expires_at"] = update.expiresAt.map { Int(($0.timeIntervalSince1970 * 1_000).rounded()) }
        return fields
    }

    private func fill(_ message: Any) -> Any {
        switch message {
        case let text as String where text.hasPrefix("$"): names[text] ?? text
        case let object as [String: Any]: object.mapValues(fill)
        case let array as [Any]: array.map(fill)
        default: message
        }
    }

    private func match(_ expected: Any, _ actual: Any?, _ path: String) throws {
        if let text = expected as? String, text.hasPrefix("$") {
            guard let actual else { throw Failure(description: "\(path) is missing") }
            if text == "$any" { return }
            let known = names[text] ?? actual
            names[text] = known
            try require((known as? NSObject)?.isEqual(actual) == true, "\(path): \(actual) is not \(known)")
        } else if let object = expected as? [String: Any] {
            guard let actual = actual as? [String: Any] else { throw Failure(description: "\(path) is no object") }
            for (name, value) in object where name != "$absent" { try match(value, actual[name], "\(path).\(name)") }
            for name in object["$absent"] as? [String] ?? [] {
                try require(actual[name] == nil, "\(path).\(name) is there")
            }
        } else {
            let isEqual = (expected as? NSObject)?.isEqual(actual ?? NSNull()) ?? false
            try require(isEqual, "\(path): \(actual ?? "nothing") is not \(expected)")
        }
    }
}
