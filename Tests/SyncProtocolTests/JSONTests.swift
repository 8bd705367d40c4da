import Foundation
import NIOCore
import SyncProtocol
import TestSupport
import Testing

struct JSONTests {
    @Test("Strings survive being written and read", arguments: 0..<10)
    func roundTrip(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            let text = random.text("ab\"\\/\n\r\t\u{1}\u{1F}é€😀 ", upTo: 20)
            var buffer = ByteBuffer()
            buffer.writeJSONString(text)
            #expect(JSONObject.string(Array(buffer.readableBytesView)) == text, "seed \(seed)")
            let parsed = try? JSONSerialization.jsonObject(
                with: Data(buffer.readableBytesView), options: .fragmentsAllowed)
            #expect(parsed as? String == text)
        }
    }

    @Test("Escapes stand for what RFC 8259 says, surrogate pairs too")
    func escapes() {
        #expect(JSONObject.string(Array(#""\"\\\/\b\f\n\r\tA\u00e9\ud83d\ude00""#.utf8)) == "\"\\/\u{8}\u{C}\n\r\tAé😀")
        for half in [#""\ud83d""#, #""\ude00""#, #""\ud83dA""#, #""\ud83dx""#, #""\ud83d\ud83d""#] {
            #expect(JSONObject.string(Array(half.utf8)) == nil)
        }
    }

    @Test("The deepest value that a client may send can be read where a server shows it")
    func depth() throws {
        let value = String(repeating: "[", count: 127) + String(repeating: "]", count: 127)
        let listed = try JSONObject(Array(#"{"type":"registers","registers":[{"key":"k","value":\#(value)}]}"#.utf8))
        let row = try JSONObject(listed.array("registers")?.first ?? [])
        #expect(row.raw("value") == Array(value.utf8))
        let endless = String(repeating: #"{"a":"#, count: 200) + "1" + String(repeating: "}", count: 200)
        #expect(throws: JSONError.self) { try JSONObject(Array(endless.utf8)) }
    }

    @Test("Numbers are written in decimal", arguments: [0, 1, 9, 10, 99, 100, 1_795_384_146_192, UInt64.max])
    func decimal(number: UInt64) {
        var buffer = ByteBuffer()
        buffer.writeDecimal(number)
        #expect(String(buffer: buffer) == "\(number)")
    }

    @Test("The scanner accepts what Foundation's parser accepts", arguments: 0..<10)
    func agrees(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<1_000 {
            let text = random.text(#"{}[]",:0123-+.eE truefalsn\"#, upTo: 12)
            var scanner = JSONScanner()
            let bytes = Array(text.utf8)
            scanner.skipWhitespace(bytes.span)
            let accepted = (try? scanner.skipValue(bytes.span)) != nil
            scanner.skipWhitespace(bytes.span)
            let isWhole = accepted && scanner.position == bytes.count
            let expected = (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)) != nil
            #expect(isWhole == expected, "seed \(seed): \(text)")
        }
    }
}
