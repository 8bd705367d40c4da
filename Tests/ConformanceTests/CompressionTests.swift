import NIOCore
import SyncProtocol
import TestSupport
import Testing
import WebSocket

extension ConformanceTests {
    /// Compressed connections to the real server, by a client that inflates and deflates itself.
    struct CompressionTests {
        private static let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

        @Test(
            "Compressed and plain subscribers see the same, whether compression is shared or dedicated",
            arguments: ["shared", "dedicated"])
        func converge(mode: String) throws {
            let server = try ServerProcess(["--compression", mode])
            let (compressed, other, plain) = (
                try Self.connect(server, mode), try Self.connect(server, mode), try RawClient.connected(server)
            )
            for client in [compressed, other, plain] {
                try client.send(#"{"type":"subscribe","id":"s","pattern":"k:*"}"#)
                _ = try client.receive(type: "synced")
            }
            var random = SeededGenerator(seed: 7)
            for number in 0..<40 {
                let text = random.text("abc ü:", upTo: [10, 2_000, 100_000][number % 3])
                // Written compressed, at times.
                let writer = number % 2 == 0 ? compressed : plain
                try writer.send(#"{"type":"broadcast","id":\#(number),"key":"k:\#(number % 7)","value":"\#(text)"}"#)
                let seen = try [compressed, other, plain].map { try $0.receive(type: "update") }
                for update in seen {
                    #expect(update.string("value") == text && update.integer("revision") == Int64(number + 1))
                }
            }
            // What is read in pages is compressed too.
            let late = try Self.connect(server, mode)
            try late.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            #expect(try (0..<7).map { _ in try late.receive(type: "update").string("key") }.count == 7)
            for client in [late, compressed, other] {
                #expect(client.received.onTheWire < client.received.inMessages)
            }
            #expect(plain.received.onTheWire > plain.received.inMessages)
        }

        @Test("A slow reader with a compressor of its own still understands what comes after what was dropped for it")
        func slow() throws {
            let server = try ServerProcess(["--compression", "dedicated", "--max-backlog", "65536"])
            let reader = try Self.connect(server, "dedicated", receiveBuffer: 4_096)
            try reader.send(#"{"type":"subscribe","id":"s","pattern":"k:*","conflated":true}"#)
            _ = try reader.receive(type: "synced")
            let writer = try RawClient.connected(server)
            var random = SeededGenerator(seed: 8)
            var last: [Int: String] = [:]
            for number in 0..<600 {
                let text = random.text("abcdefghijklmnopqrstuvwxyz0123456789", upTo: 20_000)
                last[number % 5] = text
                try writer.send(#"{"type":"broadcast","id":1,"key":"k:\#(number % 5)","value":"\#(text)"}"#)
                _ = try writer.receive(type: "ack")
            }
            try writer.send(#"{"type":"broadcast","key":"k:end","value":1}"#)
            var seen: [Int: String] = [:]
            while true {
                let update = try reader.receive()
                guard let key = update.string("key") else { continue }
                if key == "k:end" { break }
                seen[Int(key.dropFirst(2)) ?? -1] = update.string("value")
            }
            #expect(seen == last)
        }

        @Test("Messages that inflate above the limit are refused by 1009, and the server goes on")
        func bomb() throws {
            let server = try ServerProcess(["--compression", "shared"])
            let client = try Self.connect(server, "shared")
            var bomb = ByteBuffer()
            FrameEncoder.write(.text, Array(repeating: UInt8(ascii: " "), count: 64 << 20), to: &bomb)
            bomb = FrameDeflater(forgets: true, windowBits: 15).encode(bomb)
            let header = try #require(try FrameHeader.read(from: &bomb))
            var masked = ByteBuffer()
            let key = MaskingKey((0, 0, 0, 0))
            FrameHeader(isCompressed: true, opcode: .text, maskingKey: key, payloadLength: header.payloadLength)
                .write(to: &masked)
            masked.writeImmutableBuffer(bomb)
            try client.send(raw: Array(masked.readableBytesView))
            #expect(try client.next() == .close(1009))
            _ = try Self.connect(server, "shared")
        }

        @Test("Without --compression an offer is not answered")
        func off() throws {
            let server = try ServerProcess()
            let client = try RawClient(port: server.port)
            try client.send(raw: RawClient.handshake(extra: Self.offer))
            let head = try client.readHead()
            #expect(head.contains("101") && !head.contains("Extensions"))
        }

        private static func connect(_ server: ServerProcess, _ mode: String, receiveBuffer: Int32? = nil) throws
            -> RawClient
        {
            let forgets = mode == "shared"
            let client = try RawClient(
                port: server.port, receiveBuffer: receiveBuffer,
                deflate: DeflateParameters(
                    serverForgets: forgets, clientForgets: forgets, serverWindowBits: 15, clientWindowBits: 15))
            try client.shakeHands(extra: offer)
            _ = try client.receive(type: "welcome")
            return client
        }
    }
}
