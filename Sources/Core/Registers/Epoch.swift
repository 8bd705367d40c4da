/// The identity of a database's history: 64 random bits, made with the database and anew by a restore. Revisions of
/// different epochs have nothing to do with each other.
package struct Epoch: Hashable, Sendable {
    package let value: UInt64

    package init(_ value: UInt64) {
        self.value = value
    }

    /// Reads 16 lower-case hex digits.
    package init?(_ text: [UInt8]) {
        guard text.count == 16 else { return nil }
        var value: UInt64 = 0
        for byte in text {
            guard let nibble = Hex.value(byte) else { return nil }
            value = value << 4 | UInt64(nibble)
        }
        self.value = value
    }

    package var bytes: [UInt8] {
        stride(from: 60, through: 0, by: -4).map { Hex.digit(value >> UInt64($0)) }
    }
}
