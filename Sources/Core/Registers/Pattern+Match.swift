extension Pattern {
    /// Whether `key` matches. Costs a comparison for an exact or a prefix pattern, else O(pattern × key) at worst.
    package func matches(_ key: Key) -> Bool {
        key.withBytes { key in
            switch shape {
            case .exact(let bytes): ByteOrder.areEqual(key, bytes.span)
            case .prefix(let bytes): key.starts(withBytes: bytes.span)
            case .general(let prefix): key.starts(withBytes: prefix.span) && matchesBehind(prefix.count, key)
            }
        }
    }

    /// Matches the tokens behind the literal prefix of `skipped` bytes, by dynamic programming: `row[j]` says whether
    /// the first `j` tokens match the bytes seen so far. One row is kept and rewritten for each byte.
    private func matchesBehind(_ skipped: Int, _ key: Span<UInt8>) -> Bool {
        let count = tokens.count - skipped
        return withUnsafeTemporaryAllocation(of: Bool.self, capacity: count + 1) { row in
            row.initialize(repeating: false)
            row[0] = true
            for column in 0..<count where tokens[skipped + column].matchesNothing {
                row[column + 1] = row[column]
            }
            for index in skipped..<key.count {
                advance(row, over: key[index], skipped: skipped)
            }
            return row[count]
        }
    }

    private func advance(_ row: UnsafeMutableBufferPointer<Bool>, over byte: UInt8, skipped: Int) {
        // `before` is what row[column] was before this byte, `row[column]` what it is after it.
        var before = row[0]
        row[0] = false
        for column in 0..<(row.count - 1) {
            let was = row[column + 1]
            row[column + 1] =
                switch tokens[skipped + column] {
                case .literal(let literal): before && byte == literal
                case .anyScalar:
                    // A continuation byte goes on with the scalar that the bytes before it began.
                    byte & 0xC0 == 0x80 ? was : before && byte != Key.separator
                case .anyWithinSegment: row[column] || (was && byte != Key.separator)
                case .anyRun: row[column] || was
                }
            before = was
        }
    }
}

extension Pattern.Token {
    fileprivate var matchesNothing: Bool { self == .anyRun || self == .anyWithinSegment }
}
