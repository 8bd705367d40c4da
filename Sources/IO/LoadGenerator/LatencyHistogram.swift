/// Counts latencies in buckets whose width grows with them: 32 to each power of two, so that a quantile is off by 3 % at
/// most, in constant memory (the idea of HdrHistogram, http://hdrhistogram.org).
package struct LatencyHistogram: Sendable {
    /// The logarithm of how many buckets there are to a power of two.
    private static let precision: UInt64 = 5

    private var counts = [UInt64](repeating: 0, count: Int((64 - precision) << precision) + 1 << Int(precision))
    package private(set) var count: UInt64 = 0
    /// The greatest that was noted.
    package private(set) var maximum: UInt64 = 0

    package init() {}

    /// Notes a latency, in any unit.
    package mutating func note(_ value: UInt64) {
        counts[Self.bucket(of: value)] += 1
        count += 1
        maximum = max(maximum, value)
    }

    /// The least latency that `share` of all were not above, give or take the width of a bucket; 0 where there are none.
    ///
    /// - Parameter share: from 0 to 1.
    package func quantile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() where count > 0 {
            seen += count
            if seen >= wanted { return min(Self.upperEnd(of: bucket), maximum) }
        }
        return maximum
    }

    private static func bucket(of value: UInt64) -> Int {
        let magnitude = 63 - UInt64(max(value, 1).leadingZeroBitCount)
        guard magnitude > precision else { return Int(value) }
        let shift = magnitude - precision
        return Int((shift << precision) + (value >> shift))
    }

    private static func upperEnd(of bucket: Int) -> UInt64 {
        let bucket = UInt64(bucket)
        guard bucket >= 2 << precision else { return bucket }
        let shift = (bucket >> precision) - 1
        let start = (bucket - shift << precision) << shift
        return start + ((1 << shift) - 1)
    }
}
