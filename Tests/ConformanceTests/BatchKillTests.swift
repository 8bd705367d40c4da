import Foundation
import Registers
import SyncProtocol
import Synchronization
import TestSupport
import Testing

extension ConformanceTests {
    /// Rounds of writers of batches and `kill -9`, over one database. Each batch moves something between the eight accounts of a group,
    /// so that their sum is 0 as long as no half of a batch is ever seen; and says in a ninth key how far its writer is.
    /// `make kill` runs a hundred rounds.
    struct BatchKillTests {
        private static let accounts = 8
        /// Nothing else writes here, so that each batch has the revisions from one multiple of this to the next.
        private static let members = accounts + 1

        private static func setting(_ name: String, _ standard: Int) -> Int {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
        }

        private struct Writer {
            var number: Int
            /// How many of its batches were applied.
            var applied = 0
            /// What was sent and not answered.
            var pending: String?
        }

        @Test("No half batch is seen, in lists, snapshots, live updates and after kill -9, and none acts twice")
        func rounds() throws {
            let rounds = Self.setting("STARLING_KILLS", 4)
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var random = SeededGenerator(seed: UInt64(Self.setting("STARLING_SEED", 1)))
            var writers = (0..<Self.setting("STARLING_WRITERS", 16)).map { Writer(number: $0) }
            for round in 0..<rounds {
                let server = try ServerProcess(in: folder)
                let target = Int.random(in: 1...(rounds > 10 ? 2_200 : 200), using: &random)
                writers = try Self.run(writers, server, round: round, until: target)
                try Self.check(&writers, in: folder, round: round)
            }
            let total = writers.reduce(0) { $0 + $1.applied }
            print(
                "\(rounds) rounds of kill -9 under \(writers.count) writers of batches: \(total) of \(Self.members) keys applied"
            )
            #expect(total > rounds)
        }

        private static func run(
            _ writers: [Writer], _ server: ServerProcess, round: Int, until target: Int
        ) throws -> [Writer] {
            let left = Atomic<Int>(target)
            let results = Mutex(writers)
            let done = DispatchGroup()
            let killed = DispatchSemaphore(value: 0)
            for index in writers.indices {
                let client = UncheckedBox(try RawClient.connected(server))
                start(done) {
                    var writer = results.withLock { $0[index] }
                    write(client.value, &writer, groups: max(1, writers.count / 2), seed: UInt64(round * 1_000 + index))
                    {
                        if left.subtract(1, ordering: .relaxed).oldValue == 1 { killed.signal() }
                    }
                    let end = writer
                    results.withLock { $0[index] = end }
                }
            }
            let observer = UncheckedBox(try RawClient.connected(server))
            start(done) { observe(observer.value) }
            killed.wait()
            server.killHard()
            done.wait()
            return results.withLock { $0 }
        }

        private static func start(_ group: DispatchGroup, _ work: @escaping @Sendable () -> Void) {
            group.enter()
            Thread {
                work()
                group.leave()
            }.start()
        }

        /// Moves something within a group, again and again, until the connection is lost.
        private static func write(
            _ client: RawClient, _ writer: inout Writer, groups: Int, seed: UInt64, whenApplied: () -> Void
        ) {
            var random = SeededGenerator(seed: seed)
            while true {
                let group = Int.random(in: 0..<groups, using: &random)
                guard let found = try? registers(client, "sum:\(group):*") else { return }
                expectSum(found, "a list")
                var values = (0..<accounts).map { found["sum:\(group):\($0)"]?.integer("value") ?? 0 }
                let (from, to) = (
                    Int.random(in: 0..<accounts, using: &random), Int.random(in: 0..<accounts, using: &random)
                )
                let amount = Int64.random(in: 1...100, using: &random)
                values[from] -= amount
                values[to] += amount
                let writes = values.enumerated().map { index, value in
                    let key = "sum:\(group):\(index)"
                    let version = found[key]?.string("version").map { "\"\($0)\"" } ?? "null"
                    return #"{"key":"\#(key)","value":\#(value),"expect":\#(version)}"#
                }
                let count = #"{"key":"count:\#(writer.number)","value":\#(writer.applied + 1)}"#
                let message =
                    #"{"type":"batch","id":"b","op":"\#(writer.number)-\#(UInt64.random(in: .min ... .max, using: &random))","writes":[\#((writes + [count]).joined(separator: ","))]}"#
                writer.pending = message
                guard (try? client.send(message)) != nil, let answer = try? client.receive(),
                    answer.string("type") == "batched"
                else { return }
                writer.pending = nil
                guard answer.bool("applied") == true else { continue }
                writer.applied += 1
                whenApplied()
            }
        }

        private static func registers(_ client: RawClient, _ pattern: String) throws -> [String: JSONObject] {
            try client.send(#"{"type":"list","id":"l","pattern":"\#(pattern)","limit":1000}"#)
            let answer = try client.receive(type: "registers")
            let found = try (answer.array("registers") ?? []).map { try JSONObject($0) }
            return Dictionary(found.map { ($0.string("key") ?? "", $0) }) { first, _ in first }
        }

        private static func expectSum(_ found: [String: JSONObject], _ place: String) {
            let sum = found.values.reduce(0) { $0 + ($1.integer("value") ?? 0) }
            #expect(
                sum == 0 && [0, accounts].contains(found.count), "\(place): \(found.count) accounts, the sum is \(sum)")
        }

        /// Sees each batch whole, in a row of revisions of its own.
        private static func observe(_ client: RawClient) {
            guard (try? client.send(#"{"type":"subscribe","id":"s","pattern":"*","snapshot":false}"#)) != nil else {
                return
            }
            var batch: [JSONObject] = []
            var isFirst = true
            while let message = try? client.receive() {
                guard message.string("type") == "update", let revision = message.integer("revision") else { continue }
                batch.append(message)
                guard revision % Int64(members) == 0 else { continue }
                let groups = Set(batch.compactMap { $0.string("key")?.split(separator: ":").dropLast().joined() })
                // The first may have begun before the subscription.
                let isWhole = batch.count == members && groups.count == 2
                #expect(
                    isWhole || isFirst, "up to \(revision)")
                batch = []
                isFirst = false
            }
        }

        private static func check(_ writers: inout [Writer], in folder: URL, round: Int) throws {
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            let counts = try registers(client, "count:*")
            for index in writers.indices {
                let writer = writers[index]
                let count = Int(counts["count:\(writer.number)"]?.integer("value") ?? 0)
                let place = "round \(round), writer \(writer.number)"
                #expect(count == writer.applied || count == writer.applied + 1 && writer.pending != nil, "\(place)")
                guard let pending = writer.pending else { continue }
                try client.send(pending)
                let answer = try client.receive(type: "batched")
                let isApplied = answer.bool("applied") == true
                // What was made before the end is answered as made, whatever has been written over it.
                if count > writer.applied { #expect(isApplied, "\(place)") }
                writers[index].applied += isApplied ? 1 : 0
                writers[index].pending = nil
                let after = try registers(client, "count:\(writer.number)")["count:\(writer.number)"]?.integer("value")
                #expect(Int(after ?? 0) == writers[index].applied, "\(place)")
            }
            for group in 0..<max(1, writers.count / 2) {
                expectSum(try registers(client, "sum:\(group):*"), "round \(round), group \(group)")
            }
            try client.send(#"{"type":"subscribe","id":"s","pattern":"sum:*"}"#)
            var snapshot: [String: JSONObject] = [:]
            while true {
                let message = try client.receive()
                if message.string("type") == "synced" { break }
                if message.string("type") == "update", let key = message.string("key") { snapshot[key] = message }
            }
            #expect(snapshot.values.reduce(0) { $0 + ($1.integer("value") ?? 0) } == 0, "round \(round), snapshot")
        }
    }
}
