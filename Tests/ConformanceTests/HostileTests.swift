import Foundation
import NIOCore
import SyncProtocol
import TestSupport
import Testing
import WebSocket

extension ConformanceTests {
    /// Abuse of twenty kinds at once, over and over, while honest clients go on: each abuser gets the right answer, and the
    /// honest get all of theirs. (What it costs them is measured by Benchmarks/hostile.)
    struct HostileTests {
        private struct Abuse: Sendable {
            var name: String
            var expected: String
            var run: @Sendable (ServerProcess) throws -> String
        }

        private static let options = [
            "--handshake-timeout", "1", "--max-subscriptions", "20", "--max-message-rate", "200", "--stall-timeout",
            "1",
            "--compression", "shared", "--max-message", "20000", "--max-value", "10000", "--max-backlog", "65536",
        ]

        /// How a connection ends that was sent some bytes behind a good handshake.
        private static func close(_ name: String, _ expected: Int, _ bytes: [UInt8], deflate: Bool = false) -> Abuse {
            Abuse(name: name, expected: "\(expected)") { server in
                let client = try RawClient(port: server.port)
                try client.shakeHands(extra: deflate ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "")
                try? client.send(raw: bytes)
                return try Self.end(client)
            }
        }

        private static func end(_ client: RawClient) throws -> String {
            while true {
                switch try client.next() {
                case .close(let code): return code.map { "\($0)" } ?? "none"
                case .end: return "end"
                case .message, .ping, .pong: continue
                }
            }
        }

        /// The status of a request's answer.
        private static func status(_ name: String, _ expected: String, _ request: [UInt8]) -> Abuse {
            Abuse(name: name, expected: expected) { server in
                let client = try RawClient(port: server.port)
                try client.send(raw: request)
                return String(try client.readHead().dropFirst(9).prefix(3))
            }
        }

        private static func masked(_ header: FrameHeader, _ payload: [UInt8]) -> [UInt8] {
            var buffer = ByteBuffer()
            var header = header
            header.maskingKey = MaskingKey((0, 0, 0, 0))
            header.write(to: &buffer)
            return Array(buffer.readableBytesView) + payload
        }

        private static var bomb: [UInt8] {
            var frame = ByteBuffer()
            FrameEncoder.write(.text, Array(repeating: UInt8(ascii: " "), count: 8 << 20), to: &frame)
            var encoded = FrameDeflater(forgets: true, windowBits: 15).encode(frame)
            guard let header = try? FrameHeader.read(from: &encoded) else { return [] }
            return masked(header, Array(encoded.readableBytesView))
        }

        private static let frames: [Abuse] = {
            let fragment = RawClient.frame(.continuation, Array(repeating: 0x78, count: 5_000), isFinal: false)
            return [
                close(
                    "fragments without end", 1009,
                    RawClient.frame(.text, [], isFinal: false) + (0..<6).flatMap { _ in fragment }),
                close("a giant length", 1009, [0x81, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                close("a length with its highest bit", 1002, [0x81, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                close("no mask", 1002, RawClient.frame(.text, [], masked: false)),
                close("reserved bits", 1002, [0xA1, 0x80, 0, 0, 0, 0]),
                close("an unknown opcode", 1002, [0x83, 0x80, 0, 0, 0, 0]),
                close("a ping in pieces", 1002, RawClient.frame(.ping, [], isFinal: false)),
                close("a binary message", 1003, RawClient.frame(.binary, [1])),
                close("text that is none", 1007, RawClient.frame(.text, [0xFF])),
                close("a bomb", 1009, bomb, deflate: true),
                close(
                    "what does not inflate", 1007,
                    masked(FrameHeader(isCompressed: true, opcode: .text, payloadLength: 3), [0xFF, 0xFF, 0xFF]),
                    deflate: true),
            ]
        }()

        private static let handshakes: [Abuse] = [
            status(
                "a head without end", "431", Array("GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 40_000))".utf8)
            ),
            status("TLS where none is spoken", "400", [0x16, 0x03, 0x01]),
            status("no handshake at all", "426", Array("GET /sync HTTP/1.1\r\nHost: x\r\n\r\n".utf8)),
            status("a foreign page", "403", RawClient.handshake(extra: "Origin: https://evil.example\r\n")),
            status("silence", "", []),
            status("half a head", "", Array("GET /sync HTT".utf8)),
        ]

        private static let messages: [Abuse] = [
            Abuse(name: "too many subscriptions", expected: "too_many_subscriptions") { server in
                let client = try RawClient.connected(server)
                for id in 0..<21 { try client.send(#"{"type":"subscribe","id":\#(id),"pattern":"n:\#(id)"}"#) }
                return try client.receive(type: "error").string("code") ?? ""
            },
            Abuse(name: "too many messages", expected: "rate_limited") { server in
                let client = try RawClient.connected(server)
                // At once, however busy the machine is: they come in a row only if they come fast.
                let ping = RawClient.frame(.text, Array(#"{"type":"ping"}"#.utf8))
                try? client.send(raw: (0..<1_500).flatMap { _ in ping })
                return try client.receive(type: "bye").string("code") ?? ""
            },
            Abuse(name: "half a message, and the end", expected: "end") { server in
                let client = try RawClient.connected(server)
                try client.send(raw: Array(RawClient.frame(.text, Array(repeating: 0x78, count: 90)).prefix(50)))
                client.shutdownSending()
                return try Self.end(client)
            },
            Abuse(name: "subscribers that vanish", expected: "gone") { server in
                for _ in 0..<10 {
                    try RawClient.connected(server).send(#"{"type":"subscribe","id":1,"pattern":"*"}"#)
                }
                return "gone"
            },
        ]

        @Test("Twenty-one kinds of abuse at once get the right answers, and honest clients get theirs")
        func all() throws {
            let server = try ServerProcess(Self.options)
            let failures = FailureList()
            let done = DispatchGroup()
            for abuse in Self.frames + Self.handshakes + Self.messages {
                done.enter()
                Thread {
                    for _ in 0..<2 {
                        let got = (try? abuse.run(server)) ?? "nothing"
                        if got != abuse.expected { failures.add("\(abuse.name): \(got), not \(abuse.expected)") }
                    }
                    done.leave()
                }.start()
            }
            let honest = try (0..<10).map { _ in try RawClient.connected(server) }
            var rounds = 0
            repeat {
                rounds += 1
                for (number, client) in honest.enumerated() {
                    try client.send(#"{"type":"broadcast","id":\#(rounds),"key":"h:\#(number)","value":\#(rounds)}"#)
                }
                for client in honest { #expect(try client.receive(type: "ack").integer("id") == Int64(rounds)) }
            } while done.wait(timeout: .now() + .milliseconds(100)) == .timedOut
            #expect(failures.all == [])
            #expect(rounds > 5)
        }
    }
}

/// What went wrong on several threads.
private final class FailureList: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [String] = []
    var all: [String] { lock.withLock { list } }
    func add(_ text: String) { lock.withLock { list.append(text) } }
}
