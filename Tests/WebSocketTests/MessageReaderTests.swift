import NIOCore
import TestSupport
import Testing
import WebSocket

/// Sections are those of RFC 6455.
struct MessageReaderTests {
    private static let key = MaskingKey((1, 2, 3, 4))

    private func frame(
        _ opcode: Opcode, _ payload: [UInt8], isFinal: Bool = true, masked: Bool = true
    ) -> [UInt8] {
        var buffer = ByteBuffer()
        FrameEncoder.write(opcode, payload, isFinal: isFinal, maskingKey: masked ? Self.key : nil, to: &buffer)
        return Array(buffer.readableBytesView)
    }

    private enum Seen: Equatable {
        case text(String)
        case binary([UInt8])
        case other(MessageReader.Event)
    }

    /// Reads bytes that come in pieces of some size.
    private func read(
        _ bytes: [UInt8], pieces: Int = .max, role: MessageReader.Role = .server, limit: Int = 1_000
    ) -> [Seen] {
        var reader = MessageReader(role: role, maximumMessageSize: limit)
        var seen: [Seen] = []
        var buffer = ByteBuffer()
        var rest = bytes[...]
        while !rest.isEmpty {
            buffer.writeBytes(rest.prefix(pieces))
            rest = rest.dropFirst(pieces)
            while let event = reader.next(from: &buffer) {
                let payload = Array(reader.payload.readableBytesView)
                switch event {
                case .text: seen.append(.text(String(decoding: payload, as: UTF8.self)))
                case .binary: seen.append(.binary(payload))
                default: seen.append(.other(event))
                }
            }
        }
        return seen
    }

    @Test("Section 5.7: the examples of the RFC")
    func examples() {
        #expect(
            read([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]) == [.text("Hello")])
        #expect(read([0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F], role: .client) == [.text("Hello")])
        #expect(read([0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F], role: .client) == [.text("Hello")])
        #expect(
            read([0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F], role: .client) == [.other(.ping(Array("Hello".utf8)))])
    }

    @Test(
        "Frames of every length class arrive whole, however the bytes are cut", arguments: [1, 2, 3, 5, 7, 64, 1_000])
    func pieces(size: Int) {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let text = String(repeating: "x", count: length)
            let bytes = frame(.text, Array(text.utf8)) + frame(.binary, [1, 2, 3])
            #expect(read(bytes, pieces: size, limit: 100_000) == [.text(text), .binary([1, 2, 3])])
        }
    }

    @Test("Section 5.4: fragments make one message, with control frames in between")
    func fragments() {
        let bytes =
            frame(.text, Array("Hé".utf8), isFinal: false) + frame(.ping, [9])
            + frame(.continuation, [], isFinal: false)
            + frame(.pong, [8]) + frame(.continuation, Array("llo".utf8))
        #expect(read(bytes) == [.other(.ping([9])), .other(.pong([8])), .text("Héllo")])
        #expect(read(bytes, pieces: 1) == [.other(.ping([9])), .other(.pong([8])), .text("Héllo")])
    }

    @Test("A character may be cut by a fragment's end, but not by the message's")
    func fragmentedCharacter() {
        let euro: [UInt8] = [0xE2, 0x82, 0xAC]
        #expect(
            read(frame(.text, Array(euro[..<1]), isFinal: false) + frame(.continuation, Array(euro[1...]))) == [
                .text("€")
            ])
        #expect(read(frame(.text, Array(euro[..<2]))) == [.other(.violation(.invalidUTF8))])
    }

    @Test("Bad UTF-8 fails the connection before its frame is there in full")
    func failsFast() {
        let bytes = frame(.text, [0x48, 0xFF] + Array(repeating: 0x48, count: 100))
        #expect(read(Array(bytes[..<8])) == [.other(.violation(.invalidUTF8))])
        #expect(read(frame(.binary, [0xFF])) == [.binary([0xFF])])
    }

    @Test("What breaks the protocol is told apart, and nothing is read behind it")
    func violations() {
        let hello = frame(.text, Array("hello".utf8))
        let cases: [([UInt8], ProtocolViolation)] = [
            ([0xC1], .reservedBits), ([0xA1], .reservedBits), ([0x91], .reservedBits), ([0x83], .unknownOpcode(3)),
            ([0x8B], .unknownOpcode(11)), (frame(.text, [1], masked: false), .unmaskedFrame),
            ([0x09], .fragmentedControlFrame), ([0x08], .fragmentedControlFrame),
            ([0x89, 0xFE], .controlFrameTooLong(126)),
            ([0x81, 0xFE, 0, 125, 0, 0, 0, 0], .lengthNotMinimal),
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0], .lengthNotMinimal),
            ([0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], .lengthTooLarge),
            (frame(.continuation, [1]), .unexpectedContinuation),
            (frame(.text, [0x41], isFinal: false) + hello, .messageInterrupted),
            (frame(.close, [3]), .invalidClosePayload), (frame(.close, [0x03, 0xED]), .invalidCloseCode(1005)),
            (frame(.close, [0x03, 0xE8, 0xFF]), .invalidUTF8),
        ]
        for (bytes, violation) in cases {
            #expect(read(bytes + hello) == [.other(.violation(violation))])
        }
        #expect(read(hello, role: .client) == [.other(.violation(.maskedFrame))])
    }

    @Test("Section 7.4: which close codes may be sent")
    func closeCodes() {
        let valid: [UInt16] = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
        ]
        let invalid: [UInt16] = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
        for code in valid {
            let bytes = frame(.close, FrameEncoder.closePayload(CloseCode(rawValue: code), reason: "why"))
            #expect(read(bytes) == [.other(.close(CloseCode(rawValue: code), reason: "why"))])
        }
        for code in invalid {
            let bytes = frame(.close, FrameEncoder.closePayload(CloseCode(rawValue: code)))
            #expect(read(bytes) == [.other(.violation(.invalidCloseCode(code)))])
        }
        #expect(read(frame(.close, [])) == [.other(.close(nil, reason: ""))])
    }

    @Test("Nothing is read behind a Close")
    func afterClose() {
        #expect(read(frame(.close, []) + frame(.text, [0x41])) == [.other(.close(nil, reason: ""))])
    }

    @Test("A message above the limit is refused by its header, a fragmented one by the fragment that passes it")
    func limits() {
        #expect(read(frame(.text, Array(repeating: 0x41, count: 10)), limit: 10).count == 1)
        let tooBig = ProtocolViolation.messageTooBig(bytes: 11, limit: 10)
        #expect(
            read(Array(frame(.text, Array(repeating: 0x41, count: 11))[..<6]), limit: 10) == [
                .other(.violation(tooBig))
            ])
        let fragments =
            frame(.text, Array(repeating: 0x41, count: 6), isFinal: false)
            + frame(.continuation, Array(repeating: 0x41, count: 5))
        #expect(read(fragments, limit: 10) == [.other(.violation(tooBig))])
        #expect(tooBig.closeCode == .messageTooBig)
        let huge: [UInt8] = [0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]
        #expect(read(frame(.text, [0x41], isFinal: false) + [0x80] + huge[1...], limit: 10).count == 1)
    }

    @Test("Random bytes never trap", arguments: 0..<50)
    func noise(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            var bytes = frame(.text, Array(random.text("aé", upTo: 200).utf8), isFinal: Bool.random(using: &random))
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            _ = read(bytes + bytes, pieces: Int.random(in: 1...9, using: &random), limit: 500)
        }
    }

    @Test("Memory is given back between messages, and kept within one")
    func memory() {
        var reader = MessageReader(role: .server, maximumMessageSize: 10_000)
        var buffer = ByteBuffer(bytes: frame(.text, Array(repeating: 0x41, count: 5_000)))
        #expect(reader.next(from: &buffer) == .text)
        reader.releaseMemory()
        #expect(reader.payload.storageCapacity == 0)
        buffer = ByteBuffer(bytes: frame(.text, [0x41], isFinal: false))
        #expect(reader.next(from: &buffer) == nil)
        #expect(reader.isMidMessage)
        reader.releaseMemory()
        buffer = ByteBuffer(bytes: frame(.continuation, [0x42]))
        #expect(reader.next(from: &buffer) == .text)
        #expect(Array(reader.payload.readableBytesView) == [0x41, 0x42])
    }
}
