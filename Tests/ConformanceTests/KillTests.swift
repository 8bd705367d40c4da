import Foundation
import Registers
import SyncProtocol
import Synchronization
import TestSupport
import Testing

extension ConformanceTests {
    /// Rounds of writers under full load and `kill -9`, over one database.
    /// `STARLING_KILLS=100 STARLING_WRITERS=64 swift test --filter KillTests` does as many as `make kill`.
    struct KillTests {
        private static func setting(_ name: String, _ standard: Int) -> Int {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
        }

        /// What one writer did to its keys. Nobody else writes to them.
        private struct History {
            /// What was sent for each key, in order: a value, or nil for a delete.
            var sent: [String: [Int?]] = [:]
            /// How much of that was acknowledged, at least.
            var acknowledged: [String: Int] = [:]
            var acknowledgements = 0
        }

        @Test("After each kill -9 everything that was acknowledged is there, and nothing that was deleted is back")
        func rounds() throws {
            let rounds = Self.setting("STARLING_KILLS", 4)
            let writers = Self.setting("STARLING_WRITERS", 16)
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var random = SeededGenerator(seed: UInt64(Self.setting("STARLING_SEED", 1)))
            var histories = [History](repeating: History(), count: writers)
            for round in 0..<rounds {
                let server = try ServerProcess(in: folder)
                let target = Int.random(in: 1...6_000, using: &random)
                histories = try Self.run(histories, server, round: round, until: target)
                try Self.check(histories, in: folder, round: round)
            }
            let total = histories.reduce(0) { $0 + $1.acknowledgements }
            print("\(rounds) rounds of kill -9 under \(writers) writers: \(total) writes acknowledged")
            #expect(total > rounds)
        }

        /// Lets all writers write until so much is acknowledged, and kills the server.
        private static func run(
            _ histories: [History], _ server: ServerProcess, round: Int, until target: Int
        ) throws -> [History] {
            let left = Atomic<Int>(target)
            let results = Mutex(histories)
            let done = DispatchGroup()
            let killed = DispatchSemaphore(value: 0)
            for writer in histories.indices {
                let client = UncheckedBox(try RawClient.connected(server))
                done.enter()
                let thread = Thread {
                    var history = results.withLock { $0[writer] }
                    write(client.value, &history, writer: writer, seed: UInt64(round * 1_000 + writer)) {
                        if left.subtract(1, ordering: .relaxed).oldValue == 1 { killed.signal() }
                    }
                    let end = history
                    results.withLock { $0[writer] = end }
                    done.leave()
                }
                thread.start()
            }
            killed.wait()
            server.killHard()
            done.wait()
            return results.withLock { $0 }
        }

        /// Writes with a window of eight until the connection is lost.
        private static func write(
            _ client: RawClient, _ history: inout History, writer: Int, seed: UInt64, whenAcknowledged: () -> Void
        ) {
            var random = SeededGenerator(seed: seed)
            var window: [(key: String, place: Int)] = []
            while true {
                while window.count < 8 {
                    let key = "w\(writer):\(Int.random(in: 0..<20, using: &random))"
                    let place = history.sent[key, default: []].count
                    let value = Int.random(in: 0..<4, using: &random) == 0 ? nil : place
                    let body = value.map { #""broadcast","value":\#($0)"# } ?? #""delete""#
                    history.sent[key, default: []].append(value)
                    window.append((key, place))
                    let message = #"{"type":\#(body),"id":"\#(place)","key":"\#(key)"}"#
                    guard (try? client.send(message)) != nil else { break }
                }
                guard let answer = try? client.receive(), answer.string("type") == "ack" else { return }
                let (key, place) = window.removeFirst()
                history.acknowledged[key] = place + 1
                history.acknowledgements += 1
                whenAcknowledged()
            }
        }

        private static func check(_ histories: [History], in folder: URL, round: Int) throws {
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            var found: [String: Int] = [:]
            while true {
                let message = try client.receive()
                if message.string("type") == "synced" { break }
                guard message.string("type") == "update", let key = message.string("key") else { continue }
                if let value = message.integer("value") { found[key] = Int(value) }
            }
            for history in histories {
                for (key, sent) in history.sent {
                    let acknowledged = history.acknowledged[key] ?? 0
                    // The state after any write from the last acknowledged one on may be what is there.
                    var allowed = sent[max(0, acknowledged - 1)...].map { $0 }
                    if acknowledged == 0 { allowed.append(nil) }
                    let isAllowed = allowed.contains { $0 == found[key] }
                    #expect(isAllowed, "round \(round): \(key) is \(found[key].map(String.init) ?? "absent")")
                }
            }
        }
    }
}
