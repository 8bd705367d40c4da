package import Registers

/// A place in the order of changes of one database, up to which a subscriber has everything.
///
/// Clients keep it as an opaque text: `<epoch>:<revision>`, then `~` and a digest of what it was given for (pattern and
/// read grant), then, from a server that is one of several, `^` and what those know of each other, which is passed over here, then,
/// from the middle of a snapshot by key range, `@` and the last key. A text without a digest, as
/// `welcome` has it, says nothing of a pattern: who resumes from it vouches for holding everything up to it.
package struct Cursor: Equatable, Sendable {
    package let epoch: Epoch
    package let revision: Revision
    package let digest: UInt32?
    package let lastKey: Key?

    package init(epoch: Epoch, revision: Revision, digest: UInt32? = nil, lastKey: Key? = nil) {
        self.epoch = epoch
        self.revision = revision
        self.digest = digest
        self.lastKey = lastKey
    }

    /// Reads the text of a cursor; nil when it is not one.
    package init?(_ text: [UInt8]) {
        guard text.count > 17, text[16] == UInt8(ascii: ":"), let epoch = Epoch(Array(text[..<16])) else { return nil }
        var index = 17
        var revision: UInt64 = 0
        while index < text.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[index] {
            guard revision < UInt64(Int64.max) / 10 else { return nil }
            revision = revision * 10 + UInt64(text[index] - UInt8(ascii: "0"))
            index += 1
        }
        guard index > 17 else { return nil }
        var digest: UInt32?
        var lastKey: Key?
        if index < text.count, text[index] == UInt8(ascii: "~") {
            guard index + 9 <= text.count else { return nil }
            var value: UInt32 = 0
            for byte in text[(index + 1)..<(index + 9)] {
                guard let nibble = Hex.value(byte) else { return nil }
                value = value << 4 | UInt32(nibble)
            }
            digest = value
            index += 9
        }
        if index < text.count, text[index] == UInt8(ascii: "^") {
            // A client may have it from another server of its list, and newer than this one.
            index = text[index...].firstIndex(of: UInt8(ascii: "@")) ?? text.count
        }
        if index < text.count {
            guard text[index] == UInt8(ascii: "@"), let key = try? Key(Array(text[(index + 1)...])) else { return nil }
            lastKey = key
        }
        self.init(epoch: epoch, revision: Revision(revision), digest: digest, lastKey: lastKey)
    }

    package var bytes: [UInt8] {
        var text = epoch.bytes + Array(":\(revision)".utf8)
        if let digest {
            text.append(UInt8(ascii: "~"))
            for shift in stride(from: 28, through: 0, by: -4) {
                text.append(Hex.digit(UInt64(digest >> UInt32(shift))))
            }
        }
        if let lastKey {
            text.append(UInt8(ascii: "@"))
            text += lastKey.bytes
        }
        return text
    }
}
