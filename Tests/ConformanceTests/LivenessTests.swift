import Foundation
import NIOCore
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// Clients that vanish, stall or fall silent leave nothing behind.
    struct LivenessTests {
        private func metric(_ name: String, _ server: ServerProcess) throws -> Int {
            let page = try HTTP.get("/metrics", server)
            let line = page.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(name) ") }
            guard let text = line?.split(separator: " ").last, let value = Int(text) else {
                throw TestFailure("there is no \(name)")
            }
            return value
        }

        private func residentMemory(_ server: ServerProcess) throws -> Int {
            let status = try String(contentsOfFile: "/proc/\(server.pid)/status", encoding: .utf8)
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            return (line?.split(separator: " ").dropFirst().first).flatMap { Int($0) } ?? 0
        }

        @Test("A client that subscribes and vanishes 10,000 times leaves nothing behind")
        func vanishing() throws {
            let server = try ServerProcess()
            func vanish(_ count: Int) throws {
                for index in 0..<count {
                    let client = try RawClient(port: server.port)
                    // All of it at once, and gone in whatever state that is.
                    let subscribe = #"{"type":"subscribe","id":"s","pattern":"p:\#(index):*"}"#
                    let hold = #"{"type":"broadcast","key":"p:here:\#(index % 7)","value":1,"until":"disconnect"}"#
                    try client.send(
                        raw: RawClient.handshake() + RawClient.frame(.text, Array(subscribe.utf8))
                            + (index.isMultiple(of: 50) ? RawClient.frame(.text, Array(hold.utf8)) : []))
                    if index.isMultiple(of: 3) { _ = try client.readHead() }
                }
            }
            // What keeps the index of search is subscribed too.
            let own = ["starling_patterns": 3, "starling_fanout_groups": 1]
            try vanish(2_000)
            let before = try residentMemory(server)
            try vanish(8_000)
            try ServerProcess.until { try metric("starling_connections", server) == 0 ? true : nil }
            for name in ["starling_patterns", "starling_fanout_groups", "starling_holds", "starling_backlog_bytes"] {
                #expect(try metric(name, server) == own[name] ?? 0, "\(name)")
            }
            #if os(Linux)
                let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(server.pid)/fd")
                #expect(descriptors.count < 60)
                #expect(try residentMemory(server) < before + 20_000, "kB of growth over 8,000 connections")
            #endif
            let witness = try RawClient.connected(server)
            try witness.send(#"{"type":"list","id":"l","pattern":"p:*"}"#)
            _ = try witness.receive(type: "registers")
        }

        @Test("A frozen client is cut off although its kernel goes on taking what it is sent")
        func frozen() throws {
            let server = try ServerProcess(["--ping-interval", "1", "--ping-timeout", "1"])
            let frozen = try RawClient.connected(server)
            try frozen.send(
                #"{"type":"broadcast","key":"here","value":1,"until":"disconnect"}"#,
                #"{"type":"subscribe","id":"s","pattern":"tick"}"#)
            _ = try frozen.receive(type: "synced")
            let writer = try RawClient.connected(server)
            try ServerProcess.until {
                // A little now and then, as a quiet system has it: its kernel takes each at once.
                usleep(200_000)
                try writer.send(#"{"type":"broadcast","id":"w","key":"tick","value":1}"#)
                _ = try writer.receive(type: "ack")
                return try metric("starling_ping_timeouts_total", server) == 1 ? true : nil
            }
            try writer.send(#"{"type":"get","id":"g","key":"here"}"#)
            #expect(try writer.receive(type: "register").bool("found") == false)
        }

        @Test("A client that does not answer pings, and takes nothing, is cut off, and what it holds ends")
        func unanswered() throws {
            let server = try ServerProcess(["--ping-interval", "1", "--ping-timeout", "1"])
            let observer = try RawClient.connected(server)
            try observer.send(#"{"type":"subscribe","id":"s","pattern":"here"}"#)
            _ = try observer.receive(type: "synced")
            let silent = try RawClient.connected(server)
            try silent.send(#"{"type":"broadcast","key":"here","value":1,"until":"disconnect"}"#)
            var updates: [JSONObject] = []
            while updates.count < 2 {
                // The observer is silent too, but answers.
                switch try observer.next() {
                case .message(let text):
                    let message = try JSONObject(Array(text.utf8))
                    if message.string("type") == "update" { updates.append(message) }
                case .ping(let payload): try observer.send(raw: RawClient.frame(.pong, payload))
                default: break
                }
            }
            #expect(updates[1].string("cause") == "disconnected")
            #expect(try metric("starling_ping_timeouts_total", server) == 1)
        }

        @Test("A subscriber that reads nothing for the stall timeout is closed, and told why when it reads again")
        func stalled() throws {
            let server = try ServerProcess(["--stall-timeout", "1", "--max-backlog", "65536"])
            let stalled = try RawClient.connected(server, receiveBuffer: 4_096)
            try stalled.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try stalled.receive(type: "synced")
            let writer = try RawClient.connected(server)
            let value = String(repeating: "v", count: 100_000)
            for index in 0..<20 {
                try writer.send(#"{"type":"broadcast","id":"w","key":"k:\#(index)","value":"\#(value)"}"#)
                _ = try writer.receive(type: "ack")
            }
            try ServerProcess.until { try metric("starling_stalls_total", server) == 1 ? true : nil }
            #expect(try metric("starling_backlog_bytes", server) < 400_000)
            let (messages, close) = try stalled.receiveAll()
            #expect(messages.last?.string("type") == "bye" && messages.last?.string("code") == "stalled")
            #expect(close == 1008)
            try ServerProcess.until { try metric("starling_connections", server) == 1 ? true : nil }
        }

        @Test("A slow subscriber's queue is dropped, it is told how much it did not see, and ends with everything")
        func conflated() throws {
            let server = try ServerProcess(["--max-backlog", "65536"])
            let slow = try RawClient.connected(server, receiveBuffer: 4_096)
            try slow.send(#"{"type":"subscribe","id":"s","pattern":"*","conflated":true,"cursors":true}"#)
            _ = try slow.receive(type: "synced")
            let writer = try RawClient.connected(server)
            let value = String(repeating: "v", count: 10_000)
            let total = 600
            for index in 0..<total {
                try writer.send(#"{"type":"broadcast","id":"w","key":"k:\#(index % 10)","value":"\#(index)\#(value)"}"#)
                _ = try writer.receive(type: "ack")
            }
            var replica = Replica()
            var received = 0
            var skipped = 0
            while true {
                let message = try slow.receive()
                if message.string("type") == "update" {
                    try replica.apply(message)
                    received += 1
                }
                guard message.string("type") == "conflated" else { continue }
                skipped += Int(message.integer("skipped") ?? 0)
                if replica.registers.count == 10, received + skipped == total { break }
            }
            #expect(replica.problems == [])
            for index in 0..<10 {
                #expect(replica.state["k:\(index)"]?.contains(" \"\(total - 10 + index)v") == true)
            }
            #expect(try metric("starling_updates_conflated_total", server) == skipped)
        }
    }
}
