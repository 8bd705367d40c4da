import Foundation
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Who does not read slows nobody down, costs bounded memory, and ends up with the final state.
    struct SlowReaderTests {
        @Test("A subscriber that does not read is put back to catching up, and converges when it reads")
        func conflation() throws {
            let server = try ServerProcess(["--max-backlog", "65536"])
            let slow = try RawClient.connected(server, receiveBuffer: 4_096)
            try slow.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try slow.receive(type: "synced")

            let writer = try RawClient.connected(server)
            let filler = String(repeating: "x", count: 10_000)
            let rounds = 1_500
            for round in 0..<rounds {
                try writer.send(
                    #"{"type":"broadcast","id":\#(round),"key":"k:\#(round % 10)","value":["\#(filler)",\#(round)]}"#)
                if round.isMultiple(of: 50) { _ = try writer.receive(type: "ack") }
            }
            try writer.send(#"{"type":"ping","id":"end"}"#)
            _ = try writer.receive(type: "pong")
            let metrics = try HTTP.get("/metrics", server)
            #expect(!metrics.contains("starling_demotions_total 0\n"))

            // The marker is the last change: behind it nothing is owed.
            try writer.send(#"{"type":"broadcast","key":"marker","value":1}"#)
            var last: [String: JSONObject] = [:]
            var updates = 0
            while last["marker"] == nil {
                let update = try slow.receive(type: "update")
                updates += 1
                last[update.string("key") ?? ""] = update
            }
            #expect(updates < rounds, "nothing was conflated")
            for key in 0..<10 {
                let value = last["k:\(key)"]?.array("value")?.last.map { String(decoding: $0, as: UTF8.self) }
                #expect(value == "\(rounds - 10 + key)")
            }
        }

        @Test("A client that does not read its answers is read from no further")
        func unreadAnswers() throws {
            let server = try ServerProcess(["--max-backlog", "65536"])
            let client = try RawClient.connected(server, receiveBuffer: 4_096)
            let value = "\"" + String(repeating: "x", count: 200_000) + "\""
            try client.send(#"{"type":"broadcast","id":"w","key":"big","value":\#(value)}"#)
            _ = try client.receive(type: "ack")
            let count = 300
            let sender = UncheckedBox(client)
            Thread {
                for index in 0..<count { try? sender.value.send(#"{"type":"get","id":\#(index),"key":"big"}"#) }
            }.start()
            // Sixty megabytes are asked for; the server must not hold them all while nobody reads.
            let other = try RawClient.connected(server)
            for index in 0..<200 {
                try other.send(#"{"type":"broadcast","id":\#(index),"key":"k","value":1}"#)
                _ = try other.receive(type: "ack")
            }
            #expect(try Self.residentMegabytes(server.pid) < 150)
            for index in 0..<count {
                let answer = try client.receive(type: "register")
                try #require(answer.integer("id") == Int64(index))
                #expect(answer.raw("value")?.count == value.utf8.count)
            }
        }

        private static func residentMegabytes(_ pid: Int32) throws -> Int {
            let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            let match = status.firstMatch(of: /VmRSS:\s+(\d+) kB/)
            return (match.flatMap { Int($0.1) } ?? 0) / 1_024
        }
    }
}
