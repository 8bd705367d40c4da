/// The order of byte strings: unsigned bytes from the left, a prefix before what it is a prefix of. It is the order of
/// `memcmp` and of SQLite's BINARY collation, so that Swift, SQL and every client agree.
package enum ByteOrder {
    /// Returns a negative number, zero or a positive number as `left` is before, equal to or after `right`.
    package static func compare(_ left: [UInt8], _ right: [UInt8]) -> Int { compare(left.span, right.span) }

    package static func compare(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Int {
        let common = min(left.count, right.count)
        for index in 0..<common where left[index] != right[index] {
            return Int(left[index]) - Int(right[index])
        }
        return left.count - right.count
    }

    /// Whether two byte strings are the same. Many bytes at a time, which `==` of arrays does not do.
    package static func areEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool { areEqual(left.span, right.span) }

    package static func areEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        left.count == right.count && left.starts(withBytes: right)
    }

    /// Orders optional byte strings: what is absent comes first.
    package static func compare(_ left: [UInt8]?, _ right: [UInt8]?) -> Int {
        switch (left, right) {
        case (nil, nil): 0
        case (nil, _): -1
        case (_, nil): 1
        case (let left?, let right?): compare(left, right)
        }
    }
}

extension Span<UInt8> {
    /// Whether it begins with all of `prefix`. Many bytes at a time.
    package func starts(withBytes prefix: Span<UInt8>) -> Bool {
        count >= prefix.count && has(prefix, at: 0)
    }

    /// Whether it ends with all of `suffix`. Many bytes at a time.
    package func ends(withBytes suffix: Span<UInt8>) -> Bool {
        count >= suffix.count && has(suffix, at: count - suffix.count)
    }

    /// Whether `other` stands in it at `start`; there are enough bytes.
    private func has(_ other: Span<UInt8>, at start: Int) -> Bool {
        withUnsafeBytes { bytes in
            other.withUnsafeBytes { other in
                var offset = 0
                while offset + 8 <= other.count {
                    let one = bytes.loadUnaligned(fromByteOffset: start + offset, as: UInt64.self)
                    if one != other.loadUnaligned(fromByteOffset: offset, as: UInt64.self) { return false }
                    offset += 8
                }
                while offset < other.count {
                    if bytes[start + offset] != other[offset] { return false }
                    offset += 1
                }
                return true
            }
        }
    }
}
