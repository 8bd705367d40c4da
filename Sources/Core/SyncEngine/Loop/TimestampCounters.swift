package import Registers

/// Makes stamps of the bare milliseconds that one connection's writes carry, so that two writes with the same
/// millisecond keep their order: the second one gets a greater counter.
package struct TimestampCounters: Sendable {
    /// How many distinct milliseconds are remembered. A client that goes back in time further than that many of its own
    /// milliseconds gets counter 0 again.
    private static let capacity = 256

    /// The last stamp made of each millisecond. Past counter 65,535 it has carried into the next one.
    private var last: [UInt64: Stamp] = [:]

    package init() {}

    /// - Parameter milliseconds: at most ``Stamp/maximumMilliseconds``.
    package mutating func stamp(_ milliseconds: UInt64) -> Stamp {
        if last[milliseconds] == nil, last.count >= Self.capacity { forgetOldest() }
        let stamp = last[milliseconds]?.next ?? Stamp(milliseconds: milliseconds)
        last[milliseconds] = stamp
        return stamp
    }

    private mutating func forgetOldest() {
        for milliseconds in last.keys.sorted().prefix(Self.capacity / 2) { last[milliseconds] = nil }
    }
}
