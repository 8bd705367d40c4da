import Registers
import TestSupport
import Testing

struct VersionTests {
    private struct File: Decodable {
        var rising: [String]
        var invalid: [String]
    }

    @Test("Versions read, write and compare as the vectors say")
    func vectors() throws {
        let file = try Vectors.load("versions", as: File.self)
        for text in file.rising {
            #expect(try Version(text).description == text)
        }
        for (lower, higher) in zip(file.rising, file.rising.dropFirst()) {
            #expect(try Version(lower) < Version(higher))
            #expect(ByteOrder.compare(Array(lower.utf8), Array(higher.utf8)) < 0)
        }
        for text in file.invalid {
            #expect(throws: VersionError.self, "\(text)") { try Version(text) }
        }
    }

    @Test("Versions compare as their texts do", arguments: 0..<10)
    func order(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var versions: [Version] = []
        for _ in 0..<100 {
            let stamp = Stamp(
                rawValue: UInt64.random(in: 0...0xFFFF, using: &random) << UInt64.random(in: 0...40, using: &random))
            versions.append(Version(stamp: stamp, agent: try Agent("a" + random.text("ab-é", upTo: 4))))
        }
        for left in versions {
            for right in versions {
                let order = ByteOrder.compare(left.bytes, right.bytes)
                #expect((left < right) == (order < 0), "seed \(seed): \(left), \(right)")
            }
            #expect(try Version(left.bytes.span) == left)
        }
    }

    @Test("A connection without a name gets one of 64 random bits")
    func anonymous() {
        #expect(Agent(random: 0x0123_4567_89AB_CDEF).description == "anon-0123456789abcdef")
    }
}
