import Access
import Loops
import NIOCore
import Registers
import SyncProtocol

/// How often knowledge was found and told: counted in memory, and written down now and then, under a key of this database's own. So a read is no
/// write, and the counts of several databases add up when they are merged.
actor UsageCounts {
    /// What a crash may lose.
    private static let pace = Duration.seconds(30)
    private static let batchSize = 200
    /// How many are counted between two times.
    private static let maximumCounts = 100_000

    private let connections: InProcessConnections
    private let eventLoop: any EventLoop
    private let epoch: String
    private var counts: [String: UInt64] = [:]
    private var isFlushing = false

    init(_ connections: InProcessConnections, on eventLoop: any EventLoop, epoch: String) {
        self.connections = connections
        self.eventLoop = eventLoop
        self.epoch = epoch
    }

    /// - Parameter ids: of knowledge, as they stand in keys.
    func note(_ ids: [String]) {
        for id in ids where counts[id] != nil || counts.count < Self.maximumCounts { counts[id, default: 0] += 1 }
    }

    /// What is not written down yet.
    func pending(_ id: String) -> UInt64 { counts[id] ?? 0 }

    func run() async {
        while !Task.isCancelled {
            guard (try? await Task.sleep(for: Self.pace)) != nil else { return }
            await flush()
        }
    }

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
                for (id, count) in part { subtract(count, from: id) }
                continue
            }
            // One that cannot be written keeps no other from being: it is counted no longer.
            for one in part {
                guard await write([one], connection) != nil else { return }
                subtract(one.value, from: one.key)
            }
        }
    }

    private func subtract(_ count: UInt64, from id: String) {
        let left = (counts[id] ?? 0) - min(count, counts[id] ?? 0)
        counts[id] = left == 0 ? nil : left
    }

    /// - Returns: whether it was; nil: nobody knows, or there is no connection any more.
    private func write(_ part: [(key: String, value: UInt64)], _ connection: InProcessConnection) async -> Bool? {
        var writes = ByteBuffer(string: "[")
        for (index, (id, count)) in part.enumerated() {
            let key = "usage:knowledge:\(id):\(epoch)"
            var question = SyncMessage("get")
            question.add("key", key)
            guard let answer = try? await connection.ask(question),
                let register = try? JSONObject(Array(answer.readableBytesView))
            else { return nil }
            guard register.string("type") == "register" else { return false }
            let before = register.object("value")?.integer("usage_count").flatMap { UInt64(exactly: $0) } ?? 0
            writes.writeString(index == 0 ? "{\"key\":" : ",{\"key\":")
            writes.writeJSONString(Array(key.utf8))
            let seconds = SystemClock.now().milliseconds / 1_000
            writes.writeString(",\"value\":{\"usage_count\":\(before + count),\"last_used_at\":\(seconds)}}")
        }
        writes.writeString("]")
        var batch = SyncMessage("batch")
        guard (try? batch.add("writes", json: writes)) != nil, let answer = try? await connection.ask(batch),
            let outcome = try? JSONObject(Array(answer.readableBytesView))
        else { return nil }
        return outcome.bool("applied") == true
    }
}
