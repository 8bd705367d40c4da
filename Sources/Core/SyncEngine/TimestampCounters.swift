package import Registers

/// Makes stamps of the bare milliseconds that one connection's writes carry, so that two writes with the same
/// millisecond keep their order: the second one gets a greater counter.
package struct TimestampCounters: Sendable {
    /// How many distinct milliseconds are remembered. A client that goes back in time further than that many of its own
    /// milliseconds gets counter 0 again.
    private static let capacity = 256

    private var counters: [UInt64: UInt16] = [:]

    package init() {}

    package mutating func stamp(_ milliseconds: UInt64) -> Stamp {
        guard let counter = counters[milliseconds] else {
            if counters.count >= Self.capacity { forgetOldest() }
            counters[milliseconds] = 0
            return Stamp(milliseconds: milliseconds)
        }
        let stamp = Stamp(milliseconds: milliseconds, counter: counter).next
        // Past 65,535 the stamp has carried into the next millisecond; it stays there for as long as the client does.
        counters[milliseconds] = stamp.milliseconds == milliseconds ? stamp.counter : counter
        return stamp
    }

    private mutating func forgetOldest() {
        let sorted = counters.keys.sorted()
        for milliseconds in sorted.prefix(sorted.count / 2) { counters[milliseconds] = nil }
    }
}
