/// A random source that a seed determines (SplitMix64: Steele, Lea and Flood, 2014), so that a failure can be had again.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    /// A string of up to `length` characters of `alphabet`.
    package mutating func text(_ alphabet: String, upTo length: Int) -> String {
        let characters = Array(alphabet)
        return String(
            (0..<Int.random(in: 0...length, using: &self)).map { _ in
                characters[Int.random(in: 0..<characters.count, using: &self)]
            })
    }
}
