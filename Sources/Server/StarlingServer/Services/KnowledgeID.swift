import Crypto
import Registers

/// The names that knowledge has which nobody named.
enum KnowledgeID {
    /// How many digits there are, of five bits each.
    private static let length = 26

    /// The name of what somebody knows: the same text is one knowledge, whoever says it.
    static func of(topic: [UInt8], content: [UInt8]) -> Segment {
        let name = String(decoding: topic, as: UTF8.self).lowercased().split(whereSeparator: \.isWhitespace)
            .joined(separator: " ")
        return segment("k-", Array(name.utf8) + [0] + content)
    }

    /// The name of what is known of a file, of which there is one knowledge at a time.
    static func ofFile(_ topic: [UInt8]) -> Segment { segment("f-", topic) }

    private static func segment(_ prefix: String, _ text: [UInt8]) -> Segment {
        let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
        let end = prefix.utf8.count + length
        var bits = 0
        var held = 0
        var name = Array(prefix.utf8)
        for byte in SHA256.hash(data: text) where name.count < end {
            bits = bits << 8 | Int(byte)
            held += 8
            while held >= 5, name.count < end {
                held -= 5
                name.append(digits[bits >> held & 31])
            }
            bits &= (1 << held) - 1
        }
        guard let id = try? Segment(name.span) else { preconditionFailure("it is a name") }
        return id
    }
}
