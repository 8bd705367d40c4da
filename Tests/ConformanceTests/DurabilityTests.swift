import Foundation
import Registers
import SyncProtocol
import TestSupport
import Testing
import WebSocket

extension ConformanceTests {
    /// What was acknowledged is there after the worst end.
    struct DurabilityTests {
        @Test("kill -9 in the middle of 10,000 broadcasts loses nothing that was acknowledged", arguments: 1...4)
        func killHard(seed: UInt64) throws {
            var random = SeededGenerator(seed: seed)
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(in: folder)
            let client = try RawClient.connected(server)
            let total = 10_000
            let deadline = Int.random(in: 1..<total, using: &random)
            try send(total, client)

            var acknowledged: [String: (version: String, revision: Int64)] = [:]
            while acknowledged.count < deadline {
                let ack = try client.receive(type: "ack")
                acknowledged[ack.string("id") ?? ""] = (ack.string("version") ?? "", ack.integer("revision") ?? 0)
            }
            server.killHard()
            // What was on its way when the server died counts too: it was told.
            while let event = try? client.next(), case .message(let text) = event,
                let ack = try? JSONObject(Array(text.utf8))
            {
                acknowledged[ack.string("id") ?? ""] = (ack.string("version") ?? "", ack.integer("revision") ?? 0)
            }
            try checkRestart(in: folder, acknowledged, seed: seed)
        }

        /// Sends writes for as long as the server takes them, from another thread: it may be killed at any time.
        private func send(_ count: Int, _ client: RawClient) throws {
            let box = UncheckedBox(client)
            Thread {
                for start in stride(from: 0, to: count, by: 100) {
                    let frames = (start..<(start + 100)).flatMap { index in
                        RawClient.frame(
                            .text,
                            Array(#"{"type":"broadcast","id":"\#(index)","key":"k:\#(index)","value":\#(index)}"#.utf8))
                    }
                    guard (try? box.value.send(raw: frames)) != nil else { return }
                }
            }.start()
        }

        private func checkRestart(
            in folder: URL, _ acknowledged: [String: (version: String, revision: Int64)], seed: UInt64
        ) throws {
            let restarted = try ServerProcess(in: folder)
            let client = try RawClient.connected(restarted)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            var found: [String: JSONObject] = [:]
            while true {
                let message = try client.receive()
                if message.string("type") == "synced" { break }
                if let key = message.string("key") { found[key] = message }
            }
            for (id, told) in acknowledged {
                let update = found["k:\(id)"]
                #expect(update?.string("version") == told.version, "seed \(seed): k:\(id)")
                #expect(update?.integer("revision") == told.revision, "seed \(seed): k:\(id)")
            }
            // Revisions and stamps go on rising.
            let last = acknowledged.values.map(\.revision).max() ?? 0
            let lastVersion = acknowledged.values.map(\.version).max() ?? ""
            try client.send(#"{"type":"broadcast","id":"after","key":"after","value":1}"#)
            let ack = try client.receive(type: "ack")
            #expect(ack.integer("revision") ?? 0 > last)
            let stamp = try Version(ack.string("version") ?? "").stamp
            if !lastVersion.isEmpty { #expect(try stamp > Version(lastVersion).stamp) }
        }

        @Test("A restart keeps the epoch, the revisions and the registers, and cursors go on")
        func restart() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var epoch = ""
            var cursor = ""
            do {
                let server = try ServerProcess(in: folder)
                let client = try RawClient(port: server.port)
                try client.shakeHands()
                epoch = try client.receive().string("epoch") ?? ""
                try client.send(
                    #"{"type":"broadcast","key":"a","value":1}"#, #"{"type":"broadcast","key":"b","value":1}"#,
                    #"{"type":"subscribe","id":"s","pattern":"*"}"#)
                cursor = try client.receive(type: "synced").string("cursor") ?? ""
                try client.send(#"{"type":"broadcast","id":"c","key":"c","value":1}"#)
                _ = try client.receive(type: "ack")
                server.terminate()
                #expect(server.wait() == 0)
            }
            let server = try ServerProcess(in: folder)
            let client = try RawClient(port: server.port)
            try client.shakeHands()
            let welcome = try client.receive()
            #expect(welcome.string("epoch") == epoch && welcome.string("cursor") == "\(epoch):3")
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*","since":"\#(cursor)"}"#)
            #expect(try client.receive().string("type") == "subscribed")
            let update = try client.receive()
            #expect(update.string("key") == "c" && update.integer("revision") == 3)
            #expect(try client.receive(type: "synced").integer("count") == 1)
        }

        @Test("A stop answers what was sent, says goodbye, closes with 1001 and exits with 0")
        func gracefulStop() throws {
            let server = try ServerProcess()
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":"w","key":"k","value":1}"#)
            _ = try client.receive(type: "ack")
            server.terminate()
            let (messages, close) = try client.receiveAll()
            #expect(messages.last?.string("type") == "bye")
            #expect(messages.last?.string("code") == ErrorCode.shuttingDown.rawValue)
            #expect(messages.last?.integer("retry_after_ms") ?? 0 > 0)
            #expect(close == 1001)
            #expect(server.wait() == 0)
        }

        @Test("A database that another server has open is refused, with a sentence and an exit code")
        func locked() throws {
            let server = try ServerProcess()
            let (status, _, errors) = try ServerProcess.run(["serve", "--port", "0", "--data", server.database.path])
            #expect(status == 70)
            #expect(errors.contains("is in use by process \(server.pid)"))
            #expect(!errors.contains("Error:"))
        }

        @Test("In os mode everything works, and survives a crash of the process")
        func osMode() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let server = try ServerProcess(in: folder, ["--durability", "os"])
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":"w","key":"k","value":1}"#)
            let version = try client.receive(type: "ack").string("version")
            server.killHard()
            let restarted = try ServerProcess(in: folder, ["--durability", "os"])
            let second = try RawClient.connected(restarted)
            try second.send(#"{"type":"get","key":"k"}"#)
            #expect(try second.receive(type: "register").string("version") == version)
        }
    }
}
