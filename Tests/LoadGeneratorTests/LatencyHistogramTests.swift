import LoadGenerator
import TestSupport
import Testing

struct LatencyHistogramTests {
    @Test("A quantile is what sorting would say, give or take 1/32", arguments: 0..<20)
    func quantiles(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var histogram = LatencyHistogram()
        var values: [UInt64] = []
        for _ in 0..<2_000 {
            let value = UInt64.random(in: 0...(1 << UInt64.random(in: 0...40, using: &random)), using: &random)
            histogram.note(value)
            values.append(value)
        }
        values.sort()
        for share in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1] {
            let exact = values[max(0, Int((share * 2_000).rounded(.up)) - 1)]
            let found = histogram.quantile(share)
            #expect(found >= exact && found - exact <= exact / 32 + 1, "seed \(seed), \(share): \(exact) \(found)")
        }
        #expect(histogram.maximum == values.last)
        #expect(histogram.count == 2_000)
    }

    @Test("The smallest and the greatest have their place, and without any the quantiles are 0")
    func bounds() {
        var histogram = LatencyHistogram()
        #expect(histogram.quantile(0.99) == 0)
        histogram.note(0)
        #expect(histogram.quantile(1) == 0)
        histogram.note(.max)
        #expect(histogram.quantile(1) == .max)
        #expect(histogram.quantile(0.5) == 0)
    }
}
