extension Pattern {
    /// A pattern as a way through a trie over keys: at each byte of a key there is at most one way on by a literal, and one
    /// by a wildcard.
    package struct Path: Equatable, Sendable {
        package enum Step: Equatable, Sendable {
            case literal([UInt8])
            /// Any bytes up to the next separator, which the next step begins with.
            case restOfSegment
        }

        package var steps: [Step]
        /// Whether anything may follow the last step.
        package let isOpen: Bool
    }

    /// The pattern's path; nil where there would be several ways to match one key: with `?`, with `**` before the end, and
    /// with `*` that something else than a separator follows.
    package var path: Path? {
        switch shape {
        case .exact(let bytes): Path(steps: [.literal(bytes)], isOpen: false)
        case .prefix(let bytes): Path(steps: bytes.isEmpty ? [] : [.literal(bytes)], isOpen: true)
        case .general: generalPath
        }
    }

    private var generalPath: Path? {
        var steps: [Path.Step] = []
        var literal: [UInt8] = []
        for (index, token) in tokens.enumerated() {
            switch token {
            case .literal(let byte):
                literal.append(byte)
            case .anyRun where index == tokens.count - 1:
                if !literal.isEmpty { steps.append(.literal(literal)) }
                return Path(steps: steps, isOpen: true)
            case .anyWithinSegment where tokens[index + 1] == .literal(Key.separator):
                if !literal.isEmpty { steps.append(.literal(literal)) }
                literal = []
                steps.append(.restOfSegment)
            case .anyRun, .anyWithinSegment, .anyScalar:
                return nil
            }
        }
        if !literal.isEmpty { steps.append(.literal(literal)) }
        return Path(steps: steps, isOpen: false)
    }
}
