import NIOCore
import Testing
import WebSocket

struct FrameEncoderTests {
    @Test(
        "Text frames laid out in place are those laid out from a payload",
        arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
    func inPlace(length: Int) {
        let payload = (0..<length).map { UInt8(truncatingIfNeeded: $0) & 0x7F }
        var expected = ByteBuffer(string: "before")
        FrameEncoder.write(.text, payload, to: &expected)
        FrameEncoder.write(.text, [0x41], to: &expected)
        var actual = ByteBuffer(string: "before")
        FrameEncoder.writeText(to: &actual) { $0.writeBytes(payload) }
        FrameEncoder.writeText(to: &actual) { $0.writeInteger(UInt8(0x41)) }
        #expect(actual == expected)
    }

    @Test("A close reason is cut to what fits, between characters")
    func closeReason() {
        let payload = FrameEncoder.closePayload(.policyViolation, reason: String(repeating: "é", count: 100))
        #expect(payload.count == 124)
        #expect(String(validating: payload[2...], as: UTF8.self) == String(repeating: "é", count: 61))
    }
}
