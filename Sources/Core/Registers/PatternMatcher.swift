extension Pattern {
    /// A pattern made ready for many keys. Making one looks at each of the 256 bytes once, unless the pattern is exact or a prefix; matching costs a comparison for an exact or a
    /// prefix pattern, else at most ``cost`` steps of a few instructions for each byte of the key.
    package struct Matcher: Sendable {
        private enum Way: Sendable {
            case exact([UInt8])
            case prefix([UInt8])
            /// Indirect: most patterns have none, and room for one is what they would pay.
            indirect case automaton(Automaton)
        }

        private let way: Way

        package init(_ pattern: Pattern) {
            way =
                switch pattern.shape {
                case .exact(let bytes): .exact(bytes)
                case .prefix(let bytes): .prefix(bytes)
                case .general(let prefix): .automaton(Automaton(prefix, pattern.tokens))
                }
        }

        /// What a matcher of a pattern would cost, without making one: see ``cost``.
        package static func cost(of pattern: Pattern) -> Int {
            switch pattern.shape {
            case .exact, .prefix: 0
            case .general(let prefix):
                Automaton.words(steps: pattern.tokens.dropFirst(prefix.count).count { !$0.isRun })
            }
        }

        /// What testing a key costs: 0 for a comparison, else the steps for each of its bytes, 1 to 9.
        package var cost: Int {
            switch way {
            case .exact, .prefix: 0
            case .automaton(let automaton): automaton.words
            }
        }

        package func matches(_ key: Key) -> Bool {
            key.withBytes { key in
                switch way {
                case .exact(let bytes): ByteOrder.areEqual(key, bytes.span)
                case .prefix(let bytes): key.starts(withBytes: bytes.span)
                case .automaton(let automaton): automaton.matches(key)
                }
            }
        }
    }

    /// A nondeterministic automaton, all of whose states are advanced at once, a bit each (R. Baeza-Yates and G. Gonnet, "A new
    /// approach to text searching", 1992). State `n`: the first `n` literals and `?` behind the literal prefix have been seen.
    private struct Automaton: Sendable {
        /// What keys begin and end with, and how long they are at least: most are told apart by that.
        private let prefix: [UInt8]
        private let suffix: [UInt8]
        private let minimumLength: Int
        /// How many 64-bit words the states take.
        let words: Int
        /// The class of each byte: bytes of one class lead to the same states.
        private var classes = [UInt8](repeating: 0, count: 256)
        /// For each class, the states that a byte leads on from, and then those that it stays in.
        private var masks: [UInt64] = []
        private let last: Int

        init(_ prefix: [UInt8], _ tokens: [Token]) {
            let behind = Array(tokens.dropFirst(prefix.count))
            let steps = behind.filter { !$0.isRun }
            let suffix = behind.reversed().prefix { $0.literal != nil }.compactMap(\.literal)
            self.prefix = prefix
            self.suffix = suffix.reversed()
            minimumLength = prefix.count + steps.count
            last = steps.count
            words = Self.words(steps: steps.count)
            // What a byte does depends on what it is, where it is a literal, and else on what kind of byte it is.
            let literals = Set(steps.compactMap(\.literal))
            var known = [UInt8?](repeating: nil, count: 259)
            var count: UInt8 = 0
            for byte in UInt8.min...UInt8.max {
                let kind =
                    literals.contains(byte) ? Int(byte) : byte == Key.separator ? 256 : byte.isContinuation ? 257 : 258
                if known[kind] == nil {
                    known[kind] = count
                    count &+= 1
                    addMasks(of: byte, steps: steps, behind: behind)
                }
                classes[Int(byte)] = known[kind] ?? 0
            }
        }

        /// One state more than there are steps.
        static func words(steps: Int) -> Int { steps / 64 + 1 }

        private mutating func addMasks(of byte: UInt8, steps: [Token], behind: [Token]) {
            var leads = [UInt64](repeating: 0, count: words)
            var stays = leads
            func set(_ mask: inout [UInt64], _ state: Int) { mask[state / 64] |= 1 << UInt64(state % 64) }
            for (state, step) in steps.enumerated() where step.takes(byte) { set(&leads, state) }
            var state = 0
            for token in behind {
                switch token {
                case .literal: state += 1
                case .anyScalar:
                    state += 1
                    // A continuation byte goes on with the scalar that the bytes before it began.
                    if byte.isContinuation { set(&stays, state) }
                case .anyWithinSegment: if byte != Key.separator { set(&stays, state) }
                case .anyRun: set(&stays, state)
                }
            }
            masks += leads + stays
        }

        func matches(_ key: Span<UInt8>) -> Bool {
            guard key.count >= minimumLength, key.starts(withBytes: prefix.span), key.ends(withBytes: suffix.span)
            else { return false }
            return words == 1 ? matchesInOneWord(key) : matchesInWords(key)
        }

        private func matchesInOneWord(_ key: Span<UInt8>) -> Bool {
            var states: UInt64 = 1
            for index in prefix.count..<key.count {
                let place = 2 * Int(classes[Int(key[index])])
                states = (states & masks[place]) << 1 | states & masks[place + 1]
                if states == 0 { return false }
            }
            return states >> UInt64(last) & 1 == 1
        }

        private func matchesInWords(_ key: Span<UInt8>) -> Bool {
            withUnsafeTemporaryAllocation(of: UInt64.self, capacity: words) { states in
                states.initialize(repeating: 0)
                states[0] = 1
                for index in prefix.count..<key.count {
                    let place = 2 * words * Int(classes[Int(key[index])])
                    var carry: UInt64 = 0
                    var any: UInt64 = 0
                    for word in 0..<words {
                        let led = states[word] & masks[place + word]
                        states[word] = led << 1 | carry | states[word] & masks[place + words + word]
                        carry = led >> 63
                        any |= states[word]
                    }
                    if any == 0 { return false }
                }
                return states[last / 64] >> UInt64(last % 64) & 1 == 1
            }
        }
    }
}

extension Pattern.Token {
    fileprivate var isRun: Bool { self == .anyRun || self == .anyWithinSegment }

    fileprivate var literal: UInt8? {
        if case .literal(let byte) = self { byte } else { nil }
    }

    /// Whether a byte leads on from the state before it.
    fileprivate func takes(_ byte: UInt8) -> Bool {
        switch self {
        case .literal(let literal): byte == literal
        case .anyScalar: byte != Key.separator && !byte.isContinuation
        case .anyWithinSegment, .anyRun: false
        }
    }
}

extension UInt8 {
    /// Whether it is within a scalar of UTF-8, and not the first byte of one.
    fileprivate var isContinuation: Bool { self & 0xC0 == 0x80 }
}

extension Pattern {
    /// The literal bytes that every matching key ends with.
    package var literalSuffix: [UInt8] {
        switch shape {
        case .exact(let bytes): bytes
        case .prefix: []
        case .general: tokens.reversed().prefix { $0.literal != nil }.compactMap(\.literal).reversed()
        }
    }

    /// Whether it matches exactly the keys that end in ``literalSuffix``.
    package var isSuffix: Bool {
        tokens.first == .anyRun && tokens.dropFirst().allSatisfy { $0.literal != nil }
    }
}
