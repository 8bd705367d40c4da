import TestSupport
import Testing
import WebSocket

struct UTF8ValidatorTests {
    private func verdict(_ bytes: [UInt8], pieces: [Int] = []) -> Bool {
        var validator = UTF8Validator()
        var rest = bytes[...]
        for piece in pieces + [bytes.count] {
            let next = Array(rest.prefix(piece))
            rest = rest.dropFirst(piece)
            guard next.withUnsafeBytes({ validator.consume($0) }) else { return false }
        }
        return validator.isComplete
    }

    @Test("The validator agrees with the standard library, however the bytes are cut", arguments: 0..<20)
    func agrees(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            var bytes = Array(random.text("abcdefgh é€😀\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}", upTo: 12).utf8)
            if Bool.random(using: &random), !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            let expected = String(validating: bytes, as: UTF8.self) != nil
            let pieces = (0..<3).map { _ in Int.random(in: 0...4, using: &random) }
            #expect(verdict(bytes, pieces: pieces) == expected, "seed \(seed): \(bytes)")
        }
    }

    @Test("It fails at the first byte that cannot be, not at the end")
    func failsFast() {
        for bytes: [UInt8] in [
            [0x80], [0xC0], [0xC1], [0xE0, 0x9F], [0xED, 0xA0], [0xF0, 0x8F], [0xF4, 0x90], [0xF5], [0xFF],
            [0xC3, 0x28],
        ] {
            #expect(verdict(Array(bytes.dropLast()), pieces: []) == (bytes.count == 1))
            var validator = UTF8Validator()
            #expect(!bytes.withUnsafeBytes { validator.consume($0) })
        }
    }
}
