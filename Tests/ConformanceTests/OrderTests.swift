import Foundation
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// Messages of one connection take effect in order, and are answered before it ends.
    struct OrderTests {
        private let server: ServerProcess

        init() throws { server = try ServerProcess() }

        @Test("The seed's three messages, byte for byte, with the newline that websocat leaves in")
        func seed() throws {
            let client = try RawClient.connected(server)
            try client.send("{\"type\":\"subscribe\",\"id\":\"sub-1\",\"pattern\":\"task:*\"}\n")
            _ = try client.receive(type: "synced")
            try client.send(
                "{\"type\":\"broadcast\",\"key\":\"task:1\",\"value\":{\"a\" : [1, 2]},\"timestamp\":1700000000000}\n")
            guard case .message(let text) = try client.next() else {
                Issue.record("no update")
                return
            }
            #expect(
                text.hasPrefix(#"{"type":"update","key":"task:1","value":{"a" : [1, 2]},"version":"018bcfe56800-0000-"#)
            )
        }

        @Test("A write, a get, a list and a subscribe in one packet see each other, and a Close behind them waits")
        func pipeline() throws {
            let client = try RawClient.connected(server)
            let messages = [
                #"{"type":"broadcast","id":"w1","key":"k","value":1}"#, #"{"type":"get","id":"g1","key":"k"}"#,
                #"{"type":"broadcast","id":"w2","key":"k","value":2}"#,
                #"{"type":"broadcast","id":"w3","key":"l","value":3}"#,
                #"{"type":"get","id":"g2","key":"k"}"#, #"{"type":"get","id":"g3","key":"l"}"#,
                #"{"type":"list","id":"l","pattern":"*"}"#, #"{"type":"delete","id":"d","key":"l"}"#,
                #"{"type":"subscribe","id":"s","pattern":"*"}"#, #"{"type":"ping","id":"p"}"#, "bad",
            ]
            try client.send(
                raw: messages.flatMap { RawClient.frame(.text, Array($0.utf8)) }
                    + RawClient.frame(.close, FrameEncoder.closePayload(.normalClosure)))
            let (answers, close) = try client.receiveAll()
            #expect(close == 1000)
            let ids = answers.compactMap { $0.string("type") == "synced" ? nil : $0.string("id") }
            #expect(ids == ["w1", "g1", "w2", "w3", "g2", "g3", "l", "d", "s", "p"])
            #expect(answers.first { $0.string("id") == "g1" }?.integer("value") == 1)
            #expect(answers.first { $0.string("id") == "g2" }?.integer("value") == 2)
            #expect(answers.first { $0.string("id") == "g3" }?.integer("value") == 3)
            #expect(answers.first { $0.string("id") == "l" }?.array("registers")?.count == 2)
            let updates = answers.filter { $0.string("type") == "update" }
            #expect(updates.map { $0.string("key") } == ["k"])
            #expect(answers.contains { $0.string("type") == "error" })
            #expect(answers.first { $0.string("type") == "synced" }?.integer("count") == 1)
        }

        @Test("A client that stops sending without a Close gets its answers too")
        func halfClose() throws {
            let client = try RawClient.connected(server)
            try client.send(
                #"{"type":"broadcast","id":"w","key":"k","value":1}"#, #"{"type":"subscribe","id":"s","pattern":"*"}"#)
            client.shutdownSending()
            let (answers, close) = try client.receiveAll()
            #expect(close == nil)
            #expect(answers.map { $0.string("type") } == ["ack", "subscribed", "update", "synced"])
        }

        @Test("A value of 1 MiB arrives, and one byte more is too large")
        func megabyte() throws {
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try client.receive(type: "synced")
            let value = "\"" + String(repeating: "é", count: (1 << 19) - 1) + "\""
            try client.send(#"{"type":"broadcast","id":"w","key":"big","value":\#(value)}"#)
            #expect(try client.receive(type: "ack").bool("applied") == true)
            #expect(try client.receive(type: "update").raw("value") == Array(value.utf8))
            try client.send(
                #"{"type":"broadcast","id":"x","key":"big","value":\#(value) }"#, #"{"type":"get","key":"big"}"#)
            _ = try client.receive(type: "update")
            #expect(try client.receive(type: "register").raw("value") == Array(value.utf8))
            let tooLarge = "\"x" + value.dropFirst()
            try client.send(#"{"type":"broadcast","id":"y","key":"big","value":\#(tooLarge)}"#)
            #expect(
                try client.receive(type: "error").string("message") == "value is 1048577 bytes; the limit is 1048576")
        }

        @Test("A key may have every character that is no control character")
        func everyCharacter() throws {
            let client = try RawClient.connected(server)
            var key = ""
            for scalar in (0x20...0x7E).compactMap(Unicode.Scalar.init) { key.unicodeScalars.append(scalar) }
            key += "é€😀\u{A0}\u{FFFD}\u{10FFFF}"
            let quoted = key.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
            try client.send(
                #"{"type":"broadcast","id":"w","key":"\#(quoted)","value":1}"#, #"{"type":"get","key":"\#(quoted)"}"#)
            #expect(try client.receive(type: "ack").string("key") == key)
            let register = try client.receive(type: "register")
            #expect(register.string("key") == key && register.bool("found") == true)
        }

        @Test("Pings between and within messages are answered with their payload")
        func pings() throws {
            let client = try RawClient.connected(server)
            let text = Array(#"{"type":"ping","id":1}"#.utf8)
            try client.send(
                raw: RawClient.frame(.ping, [1, 2]) + RawClient.frame(.text, Array(text[..<5]), isFinal: false)
                    + RawClient.frame(.ping, [3]) + RawClient.frame(.continuation, Array(text[5...])))
            #expect(try client.next() == .pong([1, 2]))
            #expect(try client.next() == .pong([3]))
            #expect(try client.receive().string("type") == "pong")
        }

        @Test("Ten thousand pipelined messages are answered in order, with few of them in memory at a time")
        func backlog() throws {
            let client = try RawClient.connected(server)
            let count = 10_000
            for start in stride(from: 0, to: count, by: 1_000) {
                try client.send(
                    raw: (start..<(start + 1_000)).flatMap { index in
                        let text =
                            index.isMultiple(of: 10)
                            ? #"{"type":"get","id":\#(index),"key":"k"}"#
                            : #"{"type":"broadcast","id":\#(index),"key":"k","value":\#(index)}"#
                        return RawClient.frame(.text, Array(text.utf8))
                    })
            }
            for index in 0..<count {
                let answer = try client.receive()
                try #require(answer.integer("id") == Int64(index))
                if index.isMultiple(of: 10), index > 0 { #expect(answer.integer("value") == Int64(index - 1)) }
            }
        }
    }
}
