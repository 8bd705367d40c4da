import Foundation
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// What many connections together can have the server hold, and match.
    struct UnfinishedTests {
        /// The beginning of a message that is never whole.
        private static func beginning(of size: Int, has count: Int) -> [UInt8] {
            let message = RawClient.frame(.text, [UInt8](repeating: UInt8(ascii: " "), count: size))
            return Array(message.prefix(message.count - size + count))
        }

        private func unfinishedBytes(_ server: ServerProcess) throws -> Int? {
            let metrics = try HTTP.get("/metrics", server)
            return metrics.firstMatch(of: /\nstarling_unfinished_bytes (\d+)\n/).flatMap { Int($0.1) }
        }

        @Test(
            "What is held of unfinished messages is bounded for all together; who holds the most goes, and others get through"
        )
        func together() throws {
            let server = try ServerProcess(["--max-unfinished", "4194304"])
            let honest = try RawClient.connected(server)
            var holders: [RawClient] = []
            for _ in 0..<12 {
                let client = try RawClient.connected(server)
                try? client.send(raw: Self.beginning(of: 1_000_000, has: 900_000))
                holders.append(client)
            }
            // By now some had to go.
            let metrics = try ServerProcess.until {
                let metrics = try HTTP.get("/metrics", server)
                let refused = metrics.firstMatch(of: /limit="unfinished"} (\d+)/).flatMap { Int($0.1) } ?? 0
                return refused > 0 ? metrics : nil
            }
            #expect(!metrics.isEmpty)
            let value = String(repeating: "x", count: 1_000_000)
            for index in 0..<5 {
                try honest.send(#"{"type":"broadcast","id":\#(index),"key":"k","value":"\#(value)"}"#)
                #expect(try honest.receive().string("type") == "ack")
            }
            var told = 0
            for client in holders {
                client.shutdownSending()
                if let end = try? client.receiveAll(),
                    end.messages.contains(where: { $0.string("code") == "overloaded" })
                {
                    told += 1
                }
            }
            #expect(told > 0)
            holders = []
            try ServerProcess.until { try unfinishedBytes(server) == 0 ? true : nil }
        }

        @Test("Before credentials, where there have to be some, messages are small, and all together have a sixteenth")
        func strangers() throws {
            let access = try AccessFixture()
            try access.add("all", read: ["*"], write: ["*"])
            let server = try access.start(["--max-unfinished", "1048576"])
            let stranger = try RawClient.connected(server)
            try stranger.send(raw: Self.beginning(of: 70_000, has: 10))
            #expect(try stranger.receiveAll().close == 1_009)
            var holders: [RawClient] = []
            for _ in 0..<8 {
                let client = try RawClient.connected(server)
                try client.send(raw: Self.beginning(of: 60_000, has: 40_000))
                holders.append(client)
            }
            try ServerProcess.until {
                try HTTP.get("/metrics", server).contains("limit=\"unfinished\"} 0") ? nil : true
            }
            let known = try access.connect(server, "all")
            let value = String(repeating: "x", count: 500_000)
            try known.send(#"{"type":"broadcast","id":1,"key":"k","value":"\#(value)"}"#)
            #expect(try known.receive().string("type") == "ack")
        }

        @Test("Patterns that are tried one by one have a budget, which an unsubscribe gives back; others have none")
        func patterns() throws {
            let server = try ServerProcess()
            let client = try RawClient.connected(server)
            func subscribe(_ id: Int, _ pattern: String) throws -> JSONObject {
                try client.send(#"{"type":"subscribe","id":\#(id),"pattern":"\#(pattern)","snapshot":false}"#)
                let answer = try client.receive()
                if answer.string("type") == "subscribed" { _ = try client.receive(type: "synced") }
                return answer
            }
            for id in 0..<256 { #expect(try subscribe(id, "a?\(id)").string("type") == "subscribed") }
            let refused = try subscribe(256, "a?256")
            #expect(refused.string("code") == "too_many_subscriptions")
            #expect(refused.string("message")?.contains("a connection may have 256") == true)
            for (id, pattern) in ["k", "k:*", "**:status", "*:status", "**"].enumerated() {
                #expect(try subscribe(1_000 + id, pattern).string("type") == "subscribed", "\(pattern)")
            }
            try client.send(#"{"type":"unsubscribe","id":7}"#)
            _ = try client.receive(type: "unsubscribed")
            #expect(try subscribe(256, "a?256").string("type") == "subscribed")
            try client.send(#"{"type":"broadcast","key":"aé256","value":1}"#)
            #expect(try client.receive(type: "update").string("key") == "aé256")
        }
    }
}
