import Foundation
import NIOCore
import Registers
import SQLiteStore
import SyncClient
import SyncEngine
import SyncProtocol
import Synchronization
import TestSupport
import Testing

extension ConformanceTests {
    /// Many clients at once against the real server.
    struct RealConvergenceTests {
        private static let clients = 50
        private static let keys = (0..<20).map { "k:\($0 % 4):\($0)" }
        private static let patterns = ["*", "k:*", "k:1:*", "k:?:1*", "k:*:5", "**2", "k:2:2"]

        @Test(
            "50 clients that write the same 20 keys with colliding timestamps, come and go, and end with the same state"
        )
        func chaos() async throws {
            let seed = ProcessInfo.processInfo.environment["STARLING_SEED"].flatMap(UInt64.init) ?? 20_261_122
            print("seed \(seed): STARLING_SEED=\(seed) runs it again")
            let server = try ServerProcess()
            let now = UInt64(Date().timeIntervalSince1970 * 1_000)
            let states = try await withThrowingTaskGroup(of: [String: String].self) { group in
                for index in 0..<Self.clients {
                    let client = ChaosClient(seed: seed &+ UInt64(index), index: index, url: server.url, now: now)
                    group.addTask {
                        try await client.run(keys: Self.keys, patterns: Self.patterns, clients: Self.clients)
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            server.terminate()
            #expect(server.wait() == 0)
            let truth = try Self.state(of: server)
            #expect(!truth.isEmpty)
            for state in states { #expect(state == truth, "seed \(seed)") }
        }

        /// The state that is in the database, by SQLite itself.
        private static func state(of server: ServerProcess) throws -> [String: String] {
            let query = "SELECT key, version || ' ' || value FROM register WHERE value IS NOT NULL AND key LIKE 'k:%'"
            let text = try ServerProcess.run(
                ["sqlite3", "-separator", "\t", server.database.path, query], program: URL(filePath: "/usr/bin/env")
            ).output
            return text.split(separator: "\n").reduce(into: [:]) { state, line in
                let columns = line.split(separator: "\t", maxSplits: 1)
                if columns.count == 2 { state[String(columns[0])] = String(columns[1]) }
            }
        }

        @Test("A snapshot of 100,000 keys while writers run: no gap, no key missing, synced once, the count right")
        func snapshotUnderFire() async throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let count = 100_000
            try Self.fill(folder, count: count)
            let server = try ServerProcess(in: folder)
            let isDone = Flag()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<4 {
                    group.addTask {
                        try await Self.write(server.url, writer: writer, keys: count) { isDone.isSet }
                    }
                }
                for pattern in ["*", "k:1*", "k:*7", "*"] {
                    try await Self.checkSnapshot(server.url, pattern: pattern, keys: count)
                }
                isDone.set()
                try await group.waitForAll()
            }
        }

        /// Puts registers into a database that no server has open yet.
        private static func fill(_ folder: URL, count: Int) throws {
            var random = SeededGenerator(seed: 1)
            let database = try SQLiteDatabase(
                .init(path: folder.appending(path: "starling.db").path), now: 0, random: &random)
            do {
                let writer = try database.makeWriter()
                try writer.begin(now: 0, clockBound: nil)
                for index in 1...count {
                    let register = Register(
                        key: try Key("k:\(index)"),
                        version: Version(stamp: Stamp(milliseconds: 1), agent: try Agent("fill")),
                        value: Array("\(index)".utf8))
                    try writer.put(StoredRegister(register, revision: Revision(UInt64(index))), replacing: nil)
                }
                try writer.commit()
            }
            try database.close(lastStamp: Stamp(milliseconds: 1))
        }

        /// Writes at full speed over random keys, some of them new, until told to stop.
        private static func write(
            _ url: String, writer: Int, keys: Int, until isDone: @escaping @Sendable () -> Bool
        ) async throws {
            var random = SeededGenerator(seed: UInt64(writer))
            let messages = (0..<200).map { _ in
                let key = Int.random(in: 1...(keys + 1_000), using: &random)
                return #"{"type":"broadcast","key":"k:\#(key)","value":"w\#(writer)"}"#
            }
            try await SyncConnection.open(url) { connection, replies in
                var iterator = replies.makeAsyncIterator()
                while !isDone() {
                    try await connection.send(messages + [#"{"type":"ping","id":"p"}"#])
                    while let reply = try await iterator.next() {
                        if String(buffer: reply).hasPrefix(#"{"type":"pong""#) { break }
                    }
                }
            }
        }

        private static func checkSnapshot(_ url: String, pattern text: String, keys: Int) async throws {
            let pattern = try Pattern(text)
            let wanted = Set((1...keys).map { "k:\($0)" }.filter { (try? Key($0)).map(pattern.matches) == true })
            try await SyncConnection.open(url) { connection, replies in
                try await connection.send(#"{"type":"subscribe","id":"s","pattern":"\#(text)"}"#)
                var seen: Set<String> = []
                var updates = 0
                var syncs = 0
                var replica = Replica()
                var lastRevision: Int64 = 0
                var iterator = replies.makeAsyncIterator()
                while let reply = try await iterator.next() {
                    let message = try JSONObject(Array(reply.readableBytesView))
                    switch message.string("type") {
                    case "update":
                        if syncs == 0 { updates += 1 }
                        seen.insert(message.string("key") ?? "")
                        try replica.apply(message)
                        lastRevision = max(lastRevision, message.integer("revision") ?? 0)
                    case "synced":
                        syncs += 1
                        #expect(message.integer("count") == Int64(updates), "\(text)")
                        #expect(
                            wanted.isSubset(of: seen), "\(text): \(wanted.subtracting(seen).count) keys are missing")
                        // Some more of the feed, to see that it goes on and synced does not come again.
                        try await connection.send(#"{"type":"ping","id":"end"}"#)
                    case "pong":
                        #expect(syncs == 1)
                        #expect(replica.problems == [])
                        return
                    default: break
                    }
                }
                Issue.record("the connection ended")
            }
        }
    }
}

/// Something that is so from some time on.
private final class Flag: Sendable {
    private let value = Atomic(false)

    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// One of many clients: writes, watches, leaves and comes back, and at the end stays until everybody is done.
private struct ChaosClient: Sendable {
    let seed: UInt64
    let index: Int
    let url: String
    let now: UInt64

    func run(keys: [String], patterns: [String], clients: Int) async throws -> [String: String] {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<3 {
            let pattern = patterns.randomElement(using: &random) ?? "*"
            let writes = self.writes(keys, count: Int.random(in: 5...30, using: &random), &random)
            let isRude = Bool.random(using: &random)
            try await visit(pattern: pattern, writes, isRude: isRude)
        }
        return try await stay(self.writes(keys, count: 20, &random), clients: clients)
    }

    private func writes(_ keys: [String], count: Int, _ random: inout SeededGenerator) -> [String] {
        (0..<count).map { number in
            let key = keys.randomElement(using: &random) ?? "k"
            let stamp =
                switch Int.random(in: 0..<4, using: &random) {
                case 0: ""
                case 1:
                    #","version":"\#(Version(stamp: Stamp(milliseconds: now + UInt64(number % 3)), agent: Agent(random: 7)))""#
                default: #","timestamp":\#(now + UInt64.random(in: 0...5, using: &random))"#
                }
            if Int.random(in: 0..<6, using: &random) == 0 {
                return #"{"type":"delete","id":"w\#(number)","key":"\#(key)"\#(stamp)}"#
            }
            return #"{"type":"broadcast","id":"w\#(number)","key":"\#(key)","value":"\#(index)-\#(number)"\#(stamp)}"#
        }
    }

    /// Subscribes and writes for a while; a rude client leaves without waiting for its answers.
    private func visit(pattern: String, _ writes: [String], isRude: Bool) async throws {
        try await SyncConnection.open(url) { connection, replies in
            var replica = Replica()
            try await connection.send([#"{"type":"subscribe","id":"s","pattern":"\#(pattern)"}"#] + writes)
            if isRude { return }
            var answers = 0
            var iterator = replies.makeAsyncIterator()
            while answers < writes.count, let reply = try await iterator.next() {
                let message = try JSONObject(Array(reply.readableBytesView))
                switch message.string("type") {
                case "ack", "error": answers += 1
                case "update": try replica.apply(message)
                default: break
                }
            }
            #expect(replica.problems == [], "seed \(seed)")
        }
    }

    /// Subscribes to everything, writes, says that it is done, and leaves when everybody has said so.
    private func stay(_ writes: [String], clients: Int) async throws -> [String: String] {
        try await SyncConnection.open(url) { connection, replies in
            var replica = Replica()
            var done: Set<String> = []
            var answers = 0
            var isSynced = false
            var iterator = replies.makeAsyncIterator()
            try await connection.send([#"{"type":"subscribe","id":"s","pattern":"*"}"#] + writes)
            // In a snapshot, which goes by key, the others' marks come before what they wrote: hence the wait for its end.
            while done.count < clients || !isSynced, let reply = try await iterator.next() {
                let message = try JSONObject(Array(reply.readableBytesView))
                switch message.string("type") {
                case "synced": isSynced = true
                case "ack", "error":
                    answers += 1
                    if answers == writes.count {
                        try await connection.send(#"{"type":"broadcast","key":"done:\#(index)","value":true}"#)
                    }
                case "update":
                    if let key = message.string("key"), key.hasPrefix("done:") {
                        done.insert(key)
                    } else {
                        try replica.apply(message)
                    }
                default: break
                }
            }
            #expect(replica.problems == [], "seed \(seed)")
            return replica.state
        }
    }
}
