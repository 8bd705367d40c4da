import Foundation
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// Whatever comes in from outside gets its documented answer, and changes nothing for anyone else.
    struct BadInputTests {
        private let server: ServerProcess
        private let witness: RawClient

        init() throws {
            server = try ServerProcess(["--max-subscriptions", "3", "--max-value", "1000"])
            witness = try RawClient.connected(server)
            try witness.send(#"{"type":"subscribe","id":"w","pattern":"*"}"#)
            _ = try witness.receive(type: "synced")
        }

        /// Makes sure that an uninvolved connection is open, has seen nothing, and sees what comes.
        private func checkWitness() throws {
            try witness.send(#"{"type":"broadcast","key":"witness","value":1}"#)
            let update = try witness.receive()
            #expect(update.string("type") == "update" && update.string("key") == "witness")
            #expect(update.integer("revision") == 1)
        }

        @Test("Bad messages are answered with their code, and the connection stays open")
        func messages() throws {
            let client = try RawClient.connected(server)
            let big = String(repeating: "x", count: 1_000)
            let cases: [(String, ErrorCode)] = [
                ("nonsense", .badJSON), (#"{"type":"ping","type":"ping"}"#, .badMessage),
                (#"{"type":"shout"}"#, .unknownType),
                (#"{"type":"broadcast","key":"k"}"#, .missingField),
                (#"{"type":"broadcast","key":"\#(String(repeating: "k", count: 513))","value":1}"#, .badKey),
                (#"{"type":"subscribe","id":"s","pattern":"***"}"#, .badPattern),
                (#"{"type":"broadcast","key":"k","value":1,"version":"1"}"#, .badVersion),
                (#"{"type":"subscribe","id":"s","pattern":"*","since":"x"}"#, .badCursor),
                (#"{"type":"broadcast","key":"k","value":"\#(big)"}"#, .tooLarge),
                (#"{"type":"broadcast","key":"k","value":1,"timestamp":99999999999999}"#, .drift),
                (#"{"type":"unsubscribe","id":"none"}"#, .unknownSubscription),
                (#"{"type":"broadcast","key":"k","value":1,"fence":{"key":"l","token":1}}"#, .staleFence),
            ]
            for (text, code) in cases {
                try client.send(text)
                let answer = try client.receive()
                #expect(
                    answer.string("type") == "error" && answer.string("code") == code.rawValue, "\(text): \(answer)")
                #expect(answer.string("message")?.isEmpty == false && answer.bool("retry") == false)
            }
            try checkWitness()
        }

        @Test("Subscriptions have their errors")
        func subscriptions() throws {
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"subscribe","id":"1","pattern":"a*"}"#)
            let cursor = try client.receive(type: "synced").string("cursor") ?? ""
            try client.send(#"{"type":"subscribe","id":"1","pattern":"b*"}"#)
            #expect(try client.receive().string("code") == ErrorCode.duplicateSubscription.rawValue)
            for id in 2...3 {
                try client.send(#"{"type":"subscribe","id":"\#(id)","pattern":"b*"}"#)
                _ = try client.receive(type: "synced")
            }
            try client.send(#"{"type":"subscribe","id":"4","pattern":"c*"}"#)
            #expect(try client.receive().string("code") == ErrorCode.tooManySubscriptions.rawValue)
            let ahead = cursor.replacing(":0~", with: ":99~")
            let other = try RawClient.connected(server)
            try other.send(#"{"type":"subscribe","id":"5","pattern":"a*","since":"\#(ahead)"}"#)
            let answer = try other.receive()
            #expect(answer.string("code") == ErrorCode.resyncRequired.rawValue && answer.string("id") == "5")
            try checkWitness()
        }

        @Test("Broken frames end the connection with the right code, after what came before is answered")
        func frames() throws {
            let cases: [([UInt8], UInt16)] = [
                (RawClient.frame(.binary, [1, 2]), 1003),
                (RawClient.frame(.text, Array(#"{"type":"ping"}"#.utf8), masked: false), 1002),
                (RawClient.frame(.text, [0x22, 0xFF, 0x22]), 1007), ([0xC1, 0x80, 0, 0, 0, 0], 1002),
                ([0x83, 0x80, 0, 0, 0, 0], 1002), (RawClient.frame(.continuation, [0x41]), 1002),
                (RawClient.frame(.close, [0x03, 0xED]), 1002),
                ([0x81, 0xFF, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4], 1009),
            ]
            for (bytes, code) in cases {
                let client = try RawClient.connected(server)
                try client.send(raw: RawClient.frame(.text, Array(#"{"type":"ping","id":"before"}"#.utf8)) + bytes)
                let (messages, close) = try client.receiveAll()
                #expect(messages.map { $0.string("id") } == ["before"])
                #expect(close == code)
                #expect(try client.next() == .end)
            }
            try checkWitness()
        }

        @Test("Failed handshakes have their HTTP status")
        func handshakes() throws {
            let good = String(decoding: RawClient.handshake(), as: UTF8.self)
            let cases: [(String, String)] = [
                (good.replacing("GET", with: "POST"), "405"),
                (good.replacing("Version: 13", with: "Version: 8"), "426"),
                (good.replacing("Upgrade: websocket\r\n", with: ""), "426"),
                (good.replacing("dGhlIHNh", with: "!!!!"), "400"),
                (good.replacing("Host: localhost\r\n", with: ""), "400"),
                (good.replacing("HTTP/1.1", with: "HTTP/1.0"), "505"),
                (good.replacing("Host:", with: "Origin: http://evil.example\r\nHost:"), "403"),
                ("GET /sync HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 20_000))\r\n", "431"),
                ("GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "404"),
                ("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "421"),
                (good.replacing("Host: localhost", with: "Host: rebound.example"), "421"),
                (good.replacing("Host:", with: "X: a\u{1}b\r\nHost:"), "400"),
                ("nonsense\r\n\r\n", "400"),
            ]
            for (request, status) in cases {
                let client = try RawClient(port: server.port)
                try client.send(raw: Array(request.utf8))
                let head = try client.readHead()
                #expect(head.hasPrefix("HTTP/1.1 \(status) "), "\(request.prefix(60)): \(head)")
            }
            try checkWitness()
        }

        @Test("A thousand half-open handshakes and cut frames leave nothing behind")
        func abandoned() throws {
            for index in 0..<200 {
                let client = try RawClient(port: server.port)
                if index.isMultiple(of: 2) {
                    try client.send(raw: Array(RawClient.handshake().prefix(index)))
                } else {
                    try client.shakeHands()
                    let frame = RawClient.frame(.text, Array(#"{"type":"subscribe","id":"x","pattern":"*"}"#.utf8))
                    try client.send(raw: frame + frame.prefix(index % frame.count))
                }
            }
            try checkWitness()
            // The witness is alone again, as soon as the server has noticed.
            for _ in 0..<10_000 {
                if try HTTP.get("/metrics", server).contains("\nstarling_connections 1\n") { return }
            }
            Issue.record("connections are left")
        }
    }
}

/// The least of an HTTP client.
enum HTTP {
    /// The response to a GET, head and body.
    static func get(_ path: String, _ server: ServerProcess) throws -> String {
        let client = try RawClient(port: server.port)
        try client.send(raw: Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
        return try client.readAll()
    }
}
