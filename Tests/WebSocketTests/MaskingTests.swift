import TestSupport
import Testing
import WebSocket

struct MaskingTests {
    @Test("Masking by words is masking byte by byte, from any offset", arguments: 0..<40)
    func bytewise(length: Int) {
        var random = SeededGenerator(seed: UInt64(length))
        let source = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let keyBytes: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]
        let key = MaskingKey((keyBytes[0], keyBytes[1], keyBytes[2], keyBytes[3]))
        for offset in 0..<9 {
            var target = [UInt8](repeating: 0, count: length)
            target.withUnsafeMutableBytes { target in
                source.withUnsafeBytes { key.apply(from: $0, to: target, offset: offset) }
            }
            #expect(target == source.enumerated().map { $1 ^ keyBytes[($0 + offset) % 4] })
        }
    }
}
