import Crypto
import Foundation
import Registers

/// A token as its bearer has it: `stl.<id>.<secret>`. The id is no secret: it says which entry of the access file the
/// secret is compared with, so that one comparison is enough, and that one takes the same time whatever the secret is.
package struct TokenSecret: Sendable {
    package let id: String
    private let secret: String

    private static let prefix = "stl."

    /// Makes a new one, with a secret of 256 random bits.
    package init(id: String) {
        self.id = id
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) }
        secret = bytes.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing(
            "=", with: "")
    }

    /// Reads one; nil when it does not look like one.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let parts = text.dropFirst(Self.prefix.count).split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, Self.isValid(id: String(parts[0])), !parts[1].isEmpty else { return nil }
        id = String(parts[0])
        secret = String(parts[1])
    }

    /// Whether `id` can be a token's: 1 to 64 letters, digits, `-` and `_`.
    package static func isValid(id: String) -> Bool {
        1...64 ~= id.utf8.count
            && id.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    /// What its bearer shows.
    package var text: String { "\(Self.prefix)\(id).\(secret)" }

    /// What the access file keeps. A fast hash is enough for a secret that cannot be guessed.
    package var hash: String {
        SHA256.hash(data: Data(secret.utf8)).hex
    }

    /// Whether this is the token whose hash is `expected`. Takes the same time wherever the two differ.
    func matches(_ expected: String) -> Bool {
        let (own, other) = (Array(hash.utf8), Array(expected.lowercased().utf8))
        guard own.count == other.count else { return false }
        return zip(own, other).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

extension Sequence<UInt8> {
    /// Two lower-case hex digits a byte.
    var hex: String {
        String(decoding: flatMap { [Hex.digit(UInt64($0 >> 4)), Hex.digit(UInt64($0))] }, as: UTF8.self)
    }
}
