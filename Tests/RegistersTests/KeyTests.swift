import Registers
import Testing

struct KeyTests {
    @Test("A key is 1 to 512 bytes")
    func length() throws {
        #expect(throws: TextError(what: .key, problem: .empty)) { try Key("") }
        #expect(try Key(String(repeating: "k", count: 512)).bytes.count == 512)
        let tooLong = TextError(what: .key, problem: .tooLong(bytes: 513, limit: 512))
        #expect(throws: tooLong) { try Key(String(repeating: "k", count: 513)) }
        #expect(tooLong.description == "key is 513 bytes; the limit is 512")
    }

    @Test("A key has no control characters, and is UTF-8")
    func characters() throws {
        for scalar in 0..<0x20 as Range<UInt8> {
            #expect(throws: TextError.self) { try Key([UInt8(ascii: "a"), scalar]) }
        }
        #expect(throws: TextError(what: .key, problem: .controlCharacter(offset: 1))) { try Key("a\u{7F}") }
        for scalar in UInt8(0x80)...0x9F {
            #expect(throws: TextError.self) { try Key([0xC2, scalar]) }
        }
        #expect(try Key("\u{A0}").bytes == [0xC2, 0xA0])
        for bytes: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82]] {
            #expect(throws: TextError(what: .key, problem: .invalidUTF8)) { try Key(bytes) }
        }
        #expect(throws: Never.self) { try Key("é€😀 :\"\\'{}[]*?/#") }
    }

    @Test("Keys are equal by their bytes, not by what Unicode calls equivalent")
    func identity() throws {
        let composed = try Key("\u{E9}")
        let decomposed = try Key("e\u{301}")
        #expect(composed != decomposed)
        #expect(composed > decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(try Key("a") < Key("aa"))
        #expect(try Key("z") < Key("é"))
    }

    @Test("Two keys are equal where all their bytes are, at whatever place one differs")
    func equality() throws {
        for length in 1...40 {
            let bytes = [UInt8](repeating: UInt8(ascii: "k"), count: length)
            #expect(try Key(bytes) == Key(bytes))
            #expect(try Key(bytes) != Key(bytes + [UInt8(ascii: "k")]))
            for place in 0..<length {
                var other = bytes
                other[place] = UInt8(ascii: "l")
                #expect(try Key(bytes) != Key(other), "byte \(place) of \(length)")
            }
        }
    }
}
