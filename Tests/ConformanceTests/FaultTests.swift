#if os(Linux)
    import Foundation
    import Registers
    import SyncProtocol
    import Testing
    import WebSocket

    extension ConformanceTests {
        /// The real server on an operating system that fails: it refuses rather than lies, and recovers by itself.
        struct FaultTests {
            private let faults: Faults

            init() throws { faults = try Faults() }

            /// Sends a write, and tells how it was answered: with its version, or with the code of an error.
            private func write(_ value: Int, op: String, _ client: RawClient) throws -> (
                version: String?, code: String?
            ) {
                try client.send(
                    #"{"type":"broadcast","id":"\#(op)","key":"k","value":\#(value),"op":"\#(op)"}"#)
                while true {
                    let message = try client.receive()
                    guard message.string("id") == op else { continue }
                    return (message.string("version"), message.string("code"))
                }
            }

            private func waitUntilReady(_ server: ServerProcess) throws {
                let deadline = ContinuousClock.now + .seconds(20)
                while try !HTTP.get("/readyz", server).hasSuffix("\r\n\r\nready\n") {
                    if ContinuousClock.now > deadline { throw TestFailure("the server does not recover") }
                }
            }

            private enum Kind: String, CaseIterable {
                case fullDisk, failingWrites, failingSyncs
            }

            @Test(
                "While the disk fails, writes are refused, reads go on and readyz says so; then all recovers by itself",
                arguments: Kind.allCases)
            private func failingDisk(kind: Kind) throws {
                let folder = try ServerProcess.makeFolder()
                defer { try? FileManager.default.removeItem(at: folder) }
                let server = try ServerProcess(in: folder, environment: faults.environment)
                let client = try RawClient.connected(server)
                let first = try write(1, op: "op-1", client)
                #expect(first.version != nil)
                switch kind {
                case .fullDisk: faults.failWrites(ENOSPC)
                case .failingWrites: faults.failWrites(EIO)
                case .failingSyncs: faults.failSyncs(EIO)
                }
                for attempt in 2...5 {
                    let refused = try write(attempt, op: "op-2", client)
                    #expect(refused.version == nil)
                    #expect(["storage_failed", "outcome_unknown"].contains(refused.code))
                    // From the first one on, though it is tried at once whether the disk takes anything.
                    #expect(try HTTP.get("/readyz", server).contains("503"))
                }
                #expect(try HTTP.get("/healthz", server).hasSuffix("ok\n"))
                try client.send(#"{"type":"get","id":"g","key":"k"}"#)
                let read = try client.receive(type: "register")
                #expect(read.string("version") == first.version && read.raw("value") == Array("1".utf8))

                faults.failWrites(0)
                faults.failSyncs(0)
                // Nobody writes: it finds out by itself.
                try waitUntilReady(server)
                let second = try write(6, op: "op-2", client)
                #expect(second.version != nil)
                server.killHard()
                let restarted = try ServerProcess(in: folder)
                let witness = try RawClient.connected(restarted)
                try witness.send(#"{"type":"get","id":"g","key":"k"}"#)
                #expect(try witness.receive(type: "register").string("version") == second.version)
            }

            @Test(
                "Where the database cannot be synced its log is kept whole, readyz says so, and no power cut loses anything"
            )
            func lostSync() throws {
                let folder = try ServerProcess.makeFolder()
                let later = try ServerProcess.makeFolder()
                defer { for folder in [folder, later] { try? FileManager.default.removeItem(at: folder) } }
                let server = try ServerProcess(in: folder, environment: faults.environment)
                let client = try RawClient.connected(server)
                let value = String(repeating: "x", count: 200_000)
                func put(_ keys: Range<Int>) throws {
                    for key in keys {
                        try client.send(#"{"type":"broadcast","id":"w","key":"k:\#(key)","value":"\#(value)"}"#)
                        #expect(try client.receive(type: "ack").bool("applied") == true)
                    }
                }
                // What the disk has for certain, from here on.
                try FileManager.default.copyItem(at: server.database, to: later.appending(path: "starling.db"))
                faults.failTableSyncs(EIO)
                try put(0..<120)
                let problem = try ServerProcess.until {
                    let answer = try HTTP.get("/readyz", server)
                    return answer.contains("503") ? answer : nil
                }
                #expect(problem.contains("the database could not be synced"))
                // The kernel says so once only. It does not get better by that.
                faults.failTableSyncs(0)
                try put(120..<200)
                #expect(try HTTP.get("/readyz", server).contains("503"))
                server.terminate()
                #expect(server.wait() == 0)
                // The power was cut before anything that was not synced reached the disk.
                let log = folder.appending(path: "starling.db-wal")
                try FileManager.default.copyItem(at: log, to: later.appending(path: "starling.db-wal"))
                let restarted = try ServerProcess(in: later)
                let keys = try ServerProcess.run(["keys", "k:*", "--url", restarted.url]).output
                #expect(keys.split(separator: "\n").count == 200)
                #expect(try HTTP.get("/readyz", restarted).contains("200"))
            }

            @Test(
                "A crash right after a failed sync leaves what was acknowledged, and the refused write whole or not at all"
            )
            func crashAfterFailedSync() throws {
                let folder = try ServerProcess.makeFolder()
                defer { try? FileManager.default.removeItem(at: folder) }
                let server = try ServerProcess(in: folder, environment: faults.environment)
                let client = try RawClient.connected(server)
                let first = try write(1, op: "op-1", client)
                faults.failSyncs(EIO)
                #expect(try write(2, op: "op-2", client).code == "outcome_unknown")
                server.killHard()
                faults.failSyncs(0)
                let restarted = try ServerProcess(in: folder)
                let witness = try RawClient.connected(restarted)
                try witness.send(#"{"type":"get","id":"g","key":"k"}"#)
                let found = try witness.receive(type: "register")
                #expect(found.string("version") ?? "" >= first.version ?? "?")
                // The same op acts once, whatever became of it.
                let again = try write(2, op: "op-2", witness)
                let isMade = found.raw("value") == Array("2".utf8)
                #expect(again.version != nil && (again.version == found.string("version")) == isMade)
            }

            @Test(
                "When the wall clock is set back, stamps go on rising, expired stays expired, and a restart changes nothing"
            )
            func clockSetBack() throws {
                let folder = try ServerProcess.makeFolder()
                defer { try? FileManager.default.removeItem(at: folder) }
                var server = try ServerProcess(in: folder, environment: faults.environment)
                var client = try RawClient.connected(server)
                try client.send(#"{"type":"subscribe","id":"s","pattern":"short"}"#)
                _ = try client.receive(type: "synced")
                try client.send(#"{"type":"broadcast","key":"short","value":1,"ttl":0.01}"#)
                #expect(try client.receive(type: "update").bool("deleted") == nil)
                #expect(try client.receive(type: "update").string("cause") == "expired")
                try client.send(#"{"type":"claim","id":"c","key":"lock","ttl":0.01}"#)
                let fence = try client.receive(type: "claimed").integer("fence") ?? 0
                var last = try write(1, op: "op-1", client).version ?? "?"
                for offset in [-3_600_000, -7_200_000] as [Int64] {
                    faults.setClock(offset: offset)
                    if offset < -3_600_000 {
                        server.killHard()
                        server = try ServerProcess(in: folder, environment: faults.environment)
                        client = try RawClient.connected(server)
                    }
                    let next = try write(2, op: "op\(offset)", client).version ?? ""
                    #expect(next > last)
                    last = next
                    try client.send(#"{"type":"get","id":"g","key":"short"}"#)
                    #expect(try client.receive(type: "register").bool("found") == false)
                }
                faults.setClock(offset: 0)
                try client.send(#"{"type":"get","id":"h","key":"lock"}"#)
                _ = try client.receive(type: "register")
                let again = try ServerProcess.until { () -> Int64? in
                    try client.send(#"{"type":"claim","id":"d","key":"lock","ttl":60}"#)
                    while true {
                        let answer = try client.receive()
                        if answer.string("id") == "d" { return answer.integer("fence") }
                    }
                }
                #expect(again > fence)
            }

            /// Overwrites the page in the middle of the file: a leaf of the table, which is nearly all of it.
            private static func damage(_ database: String) {
                let file = open(database, O_RDWR)
                let pages = lseek(file, 0, SEEK_END) / 4_096
                let garbage = [UInt8](repeating: 0xA5, count: 4_096)
                _ = garbage.withUnsafeBytes { pwrite(file, $0.baseAddress, $0.count, pages / 2 * 4_096) }
                close(file)
            }

            @Test("A damaged page takes what is on it away, and nothing else; readyz and check say so")
            func damagedPage() throws {
                let folder = try ServerProcess.makeFolder()
                defer { try? FileManager.default.removeItem(at: folder) }
                let keys = (0..<200).map { "k:\($0)" }
                do {
                    let server = try ServerProcess(in: folder)
                    let client = try RawClient.connected(server)
                    let value = String(repeating: "v", count: 1_500)
                    for key in keys {
                        try client.send(#"{"type":"broadcast","id":"\#(key)","key":"\#(key)","value":"\#(value)"}"#)
                        _ = try client.receive(type: "ack")
                    }
                    server.terminate()
                    _ = server.wait()
                }
                let database = folder.appending(path: "starling.db").path
                Self.damage(database)

                let server = try ServerProcess(in: folder)
                let client = try RawClient.connected(server)
                var lost: [String] = []
                for key in keys {
                    try client.send(#"{"type":"get","id":"\#(key)","key":"\#(key)"}"#)
                    let answer = try client.receive()
                    if answer.string("type") == "error" {
                        #expect(answer.string("code") == "storage_failed")
                        lost.append(key)
                    } else {
                        #expect(answer.bool("found") == true)
                    }
                }
                #expect(!lost.isEmpty && lost.count < 10)
                let ready = try HTTP.get("/readyz", server)
                #expect(ready.contains("503") && ready.contains("damaged"))
                // In one batch: what hits the damage is refused, and what does not is made.
                let writes = [lost[0], "new:1", "k:1", "new:2"].map {
                    #"{"type":"broadcast","id":"w\#($0)","key":"\#($0)","value":2}"#
                }
                try client.send(raw: writes.flatMap { RawClient.frame(.text, Array($0.utf8)) })
                var answers: [String: String] = [:]
                while answers.count < 4 {
                    let answer = try client.receive()
                    answers[answer.string("id") ?? ""] = answer.string("code") ?? "made"
                }
                #expect(answers.removeValue(forKey: "w\(lost[0])") == "storage_failed")
                #expect(Set(answers.values) == ["made"])
                let check = try ServerProcess.run(["check", "--data", database])
                #expect(check.status == 1 && check.errors.contains("SQLite"))
            }
        }
    }
#endif
