/// The masking of RFC 6455, section 5.3: each byte is combined with one of four by exclusive or.
package struct MaskingKey: Equatable, Sendable {
    /// The key's four bytes, the first one lowest.
    private let value: UInt32

    /// - Parameter bytes: the four bytes in the order of the wire.
    package init(_ bytes: (UInt8, UInt8, UInt8, UInt8)) {
        value = UInt32(bytes.0) | UInt32(bytes.1) << 8 | UInt32(bytes.2) << 16 | UInt32(bytes.3) << 24
    }

    package init(random: UInt32) {
        value = random
    }

    package var bytes: (UInt8, UInt8, UInt8, UInt8) {
        (
            UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8),
            UInt8(truncatingIfNeeded: value >> 16), UInt8(truncatingIfNeeded: value >> 24)
        )
    }

    /// Masks, or unmasks, while copying: eight bytes at a time.
    ///
    /// - Parameter offset: how many bytes of the same payload have been done before.
    package func apply(
        from source: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer, offset: Int
    ) {
        precondition(target.count >= source.count)
        let shift = UInt32(offset & 3) * 8
        let turned = shift == 0 ? value : value >> shift | value << (32 - shift)
        let word = UInt64(turned) | UInt64(turned) << 32
        var index = 0
        while index + 8 <= source.count {
            let masked = UInt64(littleEndian: source.loadUnaligned(fromByteOffset: index, as: UInt64.self)) ^ word
            target.storeBytes(of: masked.littleEndian, toByteOffset: index, as: UInt64.self)
            index += 8
        }
        var rest = word
        while index < source.count {
            target[index] = source[index] ^ UInt8(truncatingIfNeeded: rest)
            rest >>= 8
            index += 1
        }
    }
}
