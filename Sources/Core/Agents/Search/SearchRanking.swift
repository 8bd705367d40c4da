/// How good a find is. The constants, and why they are what they are: docs/memory.md.
package enum SearchRanking {
    /// How much a word counts in a topic (or the name of a memory), in tags, and in the text, to BM25.
    package static let weights = (topic: 4.0, tags: 2.0, text: 1.0)
    /// What is quite unsure counts for half.
    private static let leastConfidence = 0.5
    /// What use adds.
    private static let use = 0.1

    /// - Parameters:
    ///   - bm25: as FTS5 gives it: the less the better, and below zero.
    ///   - confidence: from 0 to 1.
    ///   - uses: how often it was found before.
    /// - Returns: the greater the better.
    package static func score(bm25: Double, confidence: Double, uses: UInt64) -> Double {
        -bm25 * (leastConfidence + confidence * (1 - leastConfidence)) + use * logarithm(1 + Double(uses))
    }

    /// The natural logarithm, to three digits: there is none without a library, and a rank needs no more.
    private static func logarithm(_ value: Double) -> Double {
        // value = significand · 2^exponent, with the significand in 1..<2: ln = exponent · ln 2 + 2 artanh((s − 1) / (s + 1)).
        let ratio = (value.significand - 1) / (value.significand + 1)
        let square = ratio * ratio
        let series = 1 + square * (1.0 / 3 + square * (1.0 / 5 + square * (1.0 / 7 + square / 9)))
        return Double(value.exponent) * 0.693_147_180_559_945_3 + 2 * ratio * series
    }
}
