import Registers
import SyncProtocol
import TestSupport
import Testing

struct ClientMessageDecoderTests {
    private struct File: Decodable {
        struct Case: Decodable {
            var text: String
            var error: String?
        }
        var cases: [Case]
    }

    private let decoder = ClientMessageDecoder(maximumValueSize: 1 << 20)

    private func decode(_ text: String) throws(WireError) -> ClientMessage {
        try decoder.decode(Array(text.utf8).span)
    }

    private func failure(_ bytes: [UInt8]) -> WireError? {
        do throws(WireError) {
            _ = try decoder.decode(bytes.span)
            return nil
        } catch {
            return error
        }
    }

    @Test("Messages decode, or are refused with the code that the vectors name")
    func vectors() throws {
        for vector in try Vectors.load("messages", as: File.self).cases {
            let error = failure(Array(vector.text.utf8))
            #expect(error?.code.rawValue == vector.error, "\(vector.text): \(error?.message ?? "decoded")")
        }
    }

    @Test("A value's bytes are kept as they are")
    func verbatim() throws {
        let value = #"{ "b" :[1.0,  -0e+5,"\u00e9\/é"] , "a":{} }"#
        guard case .write(let write) = try decode(#"{"type":"broadcast","key":"k","value": \#(value) }"#) else {
            Issue.record("not a write")
            return
        }
        #expect(write.value.map { String(decoding: $0, as: UTF8.self) } == value)
    }

    @Test(
        "Ids that mean the same are the same",
        arguments: [
            (#""caf\u00e9""#, #""café""#), (#""\/""#, #""/""#), (#""a\u0022\n""#, #""a\"\n""#),
            (#""plain""#, #""plain""#), ("7", "7"),
        ])
    func ids(sent: String, kept: String) {
        #expect(RequestID(asSent: Array(sent.utf8)) == RequestID(json: Array(kept.utf8)))
    }

    @Test("Every field arrives")
    func fields() throws {
        let text = """
            {"type":"broadcast","id":"b\\u0031","key":"a\\"b","value":1,"version":"018bcfe56800-0001-x","ttl":1.5,\
            "metadata":{"m":1},"session":"s","op":"o"}
            """
        guard case .write(let write) = try decode(text) else {
            Issue.record("not a write")
            return
        }
        #expect(write.id == RequestID(json: Array(#""b1""#.utf8)))
        #expect(write.key == (try Key("a\"b")))
        #expect(write.stamping == .version(try Version("018bcfe56800-0001-x")))
        #expect(write.timeToLive == 1_500)
        #expect(write.metadata == Array(#"{"m":1}"#.utf8))
        #expect(write.session == Array("s".utf8))
        #expect(write.op == Array("o".utf8))
        #expect(write.condition == .none && !write.isTransient)
    }

    @Test("Invalid UTF-8 in any string is refused")
    func invalidUTF8() {
        for bytes: [UInt8] in [[0xFF], [0xC3], [0xED, 0xA0, 0x80]] {
            let text = Array(#"{"type":"broadcast","key":"k","value":""#.utf8) + bytes + Array("\"}".utf8)
            #expect(failure(text)?.code == .badJSON)
        }
    }

    @Test("Depth 128 is allowed, 129 is not, and neither is a stack's worth")
    func depth() {
        func message(_ depth: Int) -> [UInt8] {
            // The message itself is the first level.
            let nested = String(repeating: "[", count: depth - 1) + String(repeating: "]", count: depth - 1)
            return Array(#"{"type":"broadcast","key":"k","value":\#(nested)}"#.utf8)
        }
        #expect(failure(message(128)) == nil)
        #expect(failure(message(129))?.code == .badJSON)
        #expect(failure(message(100_000))?.code == .badJSON)
        let mixed = String(repeating: #"{"a":["#, count: 60) + "1" + String(repeating: "]}", count: 60)
        #expect(failure(Array(#"{"type":"broadcast","key":"k","value":\#(mixed)}"#.utf8)) == nil)
    }

    @Test("Values, keys and ids have limits, and the refusal says by how much they are passed")
    func limits() {
        let small = ClientMessageDecoder(maximumValueSize: 10)
        func failure(_ text: String) -> WireError? {
            do throws(WireError) {
                _ = try small.decode(Array(text.utf8).span)
                return nil
            } catch {
                return error
            }
        }
        let tooLarge = failure(#"{"type":"broadcast","id":"x","key":"k","value":"123456789"}"#)
        #expect(tooLarge?.code == .tooLarge)
        #expect(tooLarge?.message == "value is 11 bytes; the limit is 10")
        #expect(tooLarge?.id == RequestID(json: Array("\"x\"".utf8)))
        let longPattern = String(repeating: "p", count: 255)
        #expect(failure(#"{"type":"subscribe","pattern":"\#(longPattern)"}"#)?.code == .missingField)
        #expect(failure(#"{"type":"subscribe","id":1,"pattern":"\#(longPattern)"}"#) == nil)
        let longKey = failure(#"{"type":"get","key":"\#(String(repeating: "k", count: 600))"}"#)
        #expect(longKey?.message == "key is 600 bytes; the limit is 512")
        #expect(failure(#"{"type":"ping","id":"\#(String(repeating: "i", count: 255))"}"#)?.code == .badMessage)
    }

    @Test("Cutting a message anywhere is refused and never traps")
    func truncation() {
        let text = Array(
            #"{"type":"broadcast","id":"é","key":"k","value":{"a":[1,-2.5e3,true,null,"\u00e9"]},"ttl":5}"#.utf8)
        for length in 0..<text.count {
            #expect(failure(Array(text[..<length]))?.code == .badJSON)
        }
        #expect(failure(text) == nil)
    }

    @Test("Random changes of a message never trap", arguments: 0..<20)
    func noise(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let text = Array(
            #"{"type":"broadcast","id":7,"key":"k\u00e9","value":{"a":["\\",1e5,{}]},"metadata":{"x":[]}}"#.utf8)
        for _ in 0..<2_000 {
            var changed = text
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<changed.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: changed[place] = UInt8.random(in: .min ... .max, using: &random)
                case 1: changed.remove(at: place)
                default: changed.insert(Array(#"{}[]",:\u01"#.utf8).randomElement(using: &random) ?? 0, at: place)
                }
            }
            _ = failure(changed)
        }
    }
}
