import NIOCore
import TestSupport
import Testing
import WebSocket

struct DeflateTests {
    /// What a server answers to an offer.
    private static func answer(_ offer: String, _ policy: DeflateParameters.Policy) throws -> (
        String?, DeflateParameters?
    ) {
        let request = RequestHead(
            method: "GET", target: "/sync",
            headers: [
                ("host", "localhost"), ("upgrade", "websocket"), ("connection", "Upgrade"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13"),
                ("sec-websocket-extensions", offer),
            ])
        let accepted = try Handshake(compression: policy).accept(request)
        let line = accepted.response.split(separator: "\r\n").first { $0.hasPrefix("Sec-WebSocket-Extensions: ") }
        return (line.map { String($0.dropFirst("Sec-WebSocket-Extensions: ".count)) }, accepted.deflate)
    }

    @Test("The first offer that can be taken is taken, and answered with what was agreed on")
    func negotiation() throws {
        let plain = "permessage-deflate"
        for (offer, policy, expected) in [
            (plain, .off, nil),
            (plain, .dedicated, plain),
            (plain, .shared, "\(plain); server_no_context_takeover; client_no_context_takeover"),
            ("\(plain); client_max_window_bits", .dedicated, "\(plain); client_max_window_bits=15"),
            ("\(plain); client_max_window_bits=10", .dedicated, "\(plain); client_max_window_bits=10"),
            ("\(plain); server_max_window_bits=\"10\"", .dedicated, "\(plain); server_max_window_bits=10"),
            ("\(plain); server_max_window_bits=15", .dedicated, "\(plain); server_max_window_bits=13"),
            (
                "\(plain); server_max_window_bits=15; server_no_context_takeover", .shared,
                "\(plain); server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
            ),
            ("\(plain); server_max_window_bits=10", .shared, nil),
            (
                "\(plain); server_max_window_bits=10, \(plain)", .shared,
                "\(plain); server_no_context_takeover; client_no_context_takeover"
            ),
            ("\(plain); server_max_window_bits=8", .dedicated, nil),
            ("\(plain); server_max_window_bits=16", .dedicated, nil),
            ("\(plain); server_max_window_bits=010", .dedicated, nil),
            ("\(plain); server_max_window_bits", .dedicated, nil),
            ("\(plain); server_no_context_takeover=1", .dedicated, nil),
            ("\(plain); server_no_context_takeover; server_no_context_takeover", .dedicated, nil),
            ("\(plain); unknown", .dedicated, nil),
            ("x-webkit-deflate-frame, \(plain); unknown, \(plain)", .dedicated, plain),
        ] as [(String, DeflateParameters.Policy, String?)] {
            #expect(try Self.answer(offer, policy).0 == expected, "\(offer) under \(policy)")
        }
    }

    private static let parameters: [DeflateParameters] = [false, true].flatMap { forgets in
        [9, 10, 12, 15].map {
            DeflateParameters(
                serverForgets: forgets, clientForgets: forgets, serverWindowBits: $0, clientWindowBits: $0)
        }
    }

    @Test("What is compressed is what comes out, message after message, in any pieces", arguments: parameters)
    func roundTrip(parameters: DeflateParameters) throws {
        var random = SeededGenerator(seed: UInt64(parameters.serverWindowBits))
        let deflater = parameters.makeDeflater(threshold: 0)
        var reader = MessageReader(
            role: .client, maximumMessageSize: 1 << 20,
            inflater: Inflater(forgets: parameters.serverForgets, windowBits: parameters.serverWindowBits))
        for round in 0..<60 {
            let messages = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                Array(random.text("abc ü\"", upTo: [0, 1, 200, 5_000, 60_000].randomElement(using: &random) ?? 0).utf8)
            }
            var frames = ByteBuffer()
            for text in messages {
                FrameEncoder.write(.text, text, to: &frames)
                FrameEncoder.write(.ping, [1, 2], to: &frames)
            }
            var encoded = deflater.encode(frames)
            if messages.contains(where: { $0.count >= 5_000 }) {
                #expect(encoded.readableBytes < frames.readableBytes)
            }
            var read: [[UInt8]] = []
            var input = ByteBuffer()
            while encoded.readableBytes > 0 {
                let count = min(encoded.readableBytes, Int.random(in: 1...9_000, using: &random))
                input.writeImmutableBuffer(encoded.readSlice(length: count) ?? ByteBuffer())
                while let event = reader.next(from: &input) {
                    if event == .text { read.append(Array(reader.payload.readableBytesView)) }
                    if case .violation(let violation) = event { Issue.record("round \(round): \(violation)") }
                }
            }
            #expect(read == messages, "round \(round)")
        }
    }

    @Test("Small messages, control frames and what does not shrink stay as they are")
    func threshold() {
        let deflater = FrameDeflater(forgets: true, windowBits: 12)
        var random = SeededGenerator(seed: 1)
        var frames = ByteBuffer()
        FrameEncoder.write(.text, Array(repeating: UInt8(ascii: "x"), count: 1_023), to: &frames)
        FrameEncoder.write(.close, [3, 232], to: &frames)
        FrameEncoder.write(.binary, (0..<2_000).map { _ in UInt8.random(in: 0...255, using: &random) }, to: &frames)
        #expect(deflater.encode(frames) == frames)
        FrameEncoder.write(.text, Array(repeating: UInt8(ascii: "x"), count: 1_024), to: &frames)
        let encoded = deflater.encode(frames)
        #expect(encoded.readableBytes < frames.readableBytes - 900)
        #expect(encoded.getSlice(at: 0, length: 3_000) == frames.getSlice(at: 0, length: 3_000))
    }

    private static func read(_ frames: ByteBuffer, limit: Int) -> MessageReader.Event? {
        var reader = MessageReader(
            role: .client, maximumMessageSize: limit, inflater: Inflater(forgets: false, windowBits: 15))
        var frames = frames
        return reader.next(from: &frames)
    }

    @Test("A message that grows above the limit is refused when it does, not when it is whole")
    func bomb() {
        var frames = ByteBuffer()
        FrameEncoder.write(.text, Array(repeating: UInt8(ascii: "x"), count: 20_000_000), to: &frames)
        let bomb = FrameDeflater(forgets: true, windowBits: 15).encode(frames)
        #expect(bomb.readableBytes < 200_000)
        guard case .violation(.messageTooBig(let bytes, 1_000_000)) = Self.read(bomb, limit: 1_000_000) else {
            Issue.record("not refused")
            return
        }
        #expect(bytes < 1_000_000 + 20_000, "no more is held than the limit and a step")
    }

    @Test("What is no compressed message is refused with the right code")
    func invalid() {
        func frame(_ header: FrameHeader, _ payload: [UInt8]) -> ByteBuffer {
            var buffer = ByteBuffer()
            header.write(to: &buffer)
            buffer.writeBytes(payload)
            return buffer
        }
        func header(_ opcode: Opcode, _ count: Int, isCompressed: Bool = true, isFinal: Bool = true) -> FrameHeader {
            FrameHeader(isFinal: isFinal, isCompressed: isCompressed, opcode: opcode, payloadLength: count)
        }
        #expect(Self.read(frame(header(.text, 3), [0xFF, 0xFF, 0xFF]), limit: 99) == .violation(.invalidCompression))
        #expect(Self.read(frame(header(.ping, 0), []), limit: 99) == .violation(.reservedBits))
        var fragments = frame(header(.text, 0, isCompressed: false, isFinal: false), [])
        fragments.writeImmutableBuffer(frame(header(.continuation, 0), []))
        #expect(Self.read(fragments, limit: 99) == .violation(.reservedBits))
        // "\xFF" in a stored block: it decompresses, and is no text.
        #expect(
            Self.read(frame(header(.text, 7), [0x00, 0x01, 0x00, 0xFE, 0xFF, 0xFF, 0x00]), limit: 99)
                == .violation(.invalidUTF8))
        var reader = MessageReader(role: .client, maximumMessageSize: 99)
        var plain = frame(header(.text, 0), [])
        #expect(reader.next(from: &plain) == .violation(.reservedBits))
    }

    @Test("Messages that end in a last block are read, and so is what comes after them (RFC 7692, section 7.2.3.4)")
    func lastBlock() {
        var reader = MessageReader(
            role: .client, maximumMessageSize: 99, inflater: Inflater(forgets: false, windowBits: 15))
        // The RFC's examples: "Hello" in a last block, then "Hello" that refers to the one before.
        for payload in [[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00], [0xF2, 0x00, 0x11, 0x00, 0x00]] as [[UInt8]] {
            var buffer = ByteBuffer()
            FrameHeader(isCompressed: true, opcode: .text, payloadLength: payload.count).write(to: &buffer)
            buffer.writeBytes(payload)
            #expect(reader.next(from: &buffer) == .text)
            #expect(String(buffer: reader.payload) == "Hello")
        }
    }
}
