import Access
import Loops
import NIOCore
import Registers
import SyncProtocol

/// What is counted now and then told: how often knowledge was found, and how work of a kind went. It is counted in memory, and written down every so
/// often, under a key of this database's own. So a read is no write, and the counts of several databases add up when they are merged.
actor Counters {
    /// What a crash may lose.
    private static let pace = Duration.seconds(30)
    private static let batchSize = 200
    /// How many registers are counted for between two times.
    private static let maximumCounts = 100_000

    private let connections: InProcessConnections
    private let eventLoop: any EventLoop
    private let epoch: String
    /// What each register counts that is not written down yet, by its key and the member's name.
    private var counts: [String: [String: UInt64]] = [:]
    private var isFlushing = false

    init(_ connections: InProcessConnections, on eventLoop: any EventLoop, epoch: String) {
        self.connections = connections
        self.eventLoop = eventLoop
        self.epoch = epoch
    }

    private static let uses = "usage_count"

    private func uses(of id: String) -> String { "usage:knowledge:\(id):\(epoch)" }

    /// Counts a use of each.
    ///
    /// - Parameter ids: of knowledge, as they stand in keys.
    func note(uses ids: [String]) {
        for id in ids { note(Self.uses, of: uses(of: id)) }
    }

    /// The uses that are not written down yet.
    func pendingUses(_ id: String) -> UInt64 { counts[uses(of: id)]?[Self.uses] ?? 0 }

    /// Counts one more.
    ///
    /// - Parameters:
    ///   - name: of the member of the register's value that is counted in.
    ///   - key: of a register of this database's own.
    func note(_ name: String, of key: String) {
        guard counts[key] != nil || counts.count < Self.maximumCounts else { return }
        counts[key, default: [:]][name, default: 0] += 1
    }

    func run() async {
        while !Task.isCancelled {
            guard (try? await Task.sleep(for: Self.pace)) != nil else { return }
            await flush()
        }
    }

    private typealias Count = (key: String, value: [String: UInt64])

    /// Writes down what was counted. What cannot be stays counted.
    func flush() async {
        guard !counts.isEmpty, !isFlushing else { return }
        isFlushing = true
        defer { isFlushing = false }
        guard let connection = try? await connections.open(.server, on: eventLoop, isTaken: false)
        else { return }
        defer { connection.close() }
        let due = counts.sorted { $0.key < $1.key }
        for start in stride(from: 0, to: due.count, by: Self.batchSize) {
            let part = due[start..<min(due.count, start + Self.batchSize)]
            guard let isWritten = await write(Array(part), connection) else { return }
            if isWritten {
                for one in part { subtract(one) }
                continue
            }
            // One that cannot be written keeps no other from being: it is counted no longer.
            for one in part {
                guard await write([one], connection) != nil else { return }
                subtract(one)
            }
        }
    }

    private func subtract(_ done: Count) {
        guard var left = counts[done.key] else { return }
        for (name, count) in done.value {
            left[name] = (left[name] ?? 0) > count ? (left[name] ?? 0) - count : nil
        }
        counts[done.key] = left.isEmpty ? nil : left
    }

    /// - Returns: whether it was; nil: nobody knows, or there is no connection any more.
    private func write(_ part: [Count], _ connection: InProcessConnection) async -> Bool? {
        var writes = ByteBuffer(string: "[")
        for (index, one) in part.enumerated() {
            var question = SyncMessage("get")
            question.add("key", one.key)
            guard let answer = try? await connection.ask(question),
                let register = try? JSONObject(Array(answer.readableBytesView))
            else { return nil }
            guard register.string("type") == "register" else { return false }
            writes.writeString(index == 0 ? "{\"key\":" : ",{\"key\":")
            writes.writeJSONString(Array(one.key.utf8))
            writes.writeString(",\"value\":{")
            for (name, sum) in Self.sums(of: one.value, with: register.object("value")) {
                writes.writeString("\"\(name)\":\(sum),")
            }
            writes.writeString("\"last_used_at\":\(SystemClock.now().milliseconds / 1_000)}}")
        }
        writes.writeString("]")
        var batch = SyncMessage("batch")
        guard (try? batch.add("writes", json: writes)) != nil, let answer = try? await connection.ask(batch),
            let outcome = try? JSONObject(Array(answer.readableBytesView))
        else { return nil }
        return outcome.bool("applied") == true
    }

    /// What there is after some more were counted, by name.
    private static func sums(of counts: [String: UInt64], with value: JSONObject?) -> [(String, UInt64)] {
        func before(_ name: String) -> UInt64 {
            value?.integer(name).flatMap { 0...Int64(1) << 52 ~= $0 ? UInt64($0) : nil } ?? 0
        }
        let names = Set(counts.keys).union(value?.members.map(\.name).filter { Learning.names.contains($0) } ?? [])
        return names.sorted().map { ($0, before($0) + (counts[$0] ?? 0)) }
    }
}

/// How work of a kind goes, counted for each agent.
enum Learning {
    /// What is counted.
    static let names: Set<String> = ["started", "completed", "failed", "edits"]
}

extension AgentServices {
    /// The key of what is counted of an agent's work of a kind.
    func learning(of agent: Segment, _ type: Segment) -> String {
        "learning:\(String(decoding: agent.escaped, as: UTF8.self)):\(String(decoding: type.escaped, as: UTF8.self)):\(epoch)"
    }
}
