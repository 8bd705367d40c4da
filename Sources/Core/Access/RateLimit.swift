/// How fast messages may come: two token buckets, one of messages and one of bytes.
///
/// A bucket fills at its rate, up to what a second brings, and may be overdrawn by one message: so a message that is greater
/// than a second's bytes passes too, and is paid for by those after it.
package struct RateLimit: Sendable {
    package struct Limits: Hashable, Sendable {
        /// Per second; nil: any number.
        package var messages: Int?
        /// Per second; nil: any number.
        package var bytes: Int?

        package init(messages: Int? = nil, bytes: Int? = nil) {
            self.messages = messages
            self.bytes = bytes
        }
    }

    private var messages: Bucket?
    private var bytes: Bucket?

    package init(_ limits: Limits) {
        messages = limits.messages.map { Bucket(rate: $0, least: 1_000) }
        bytes = limits.bytes.map { Bucket(rate: $0, least: 1) }
    }

    /// Counts a message.
    ///
    /// - Returns: nil if it may pass, else how long to wait before the next one, in milliseconds; nothing is counted then.
    package mutating func take(bytes size: Int, now: UInt64) -> UInt64? {
        messages?.fill(now)
        bytes?.fill(now)
        let wait = max(messages?.wait ?? 0, bytes?.wait ?? 0)
        guard wait == 0 else { return wait }
        messages?.take(1)
        bytes?.take(size)
        return nil
    }

    private struct Bucket {
        private let rate: Int
        /// What has to be there for anything to be taken.
        private let least: Int
        /// In thousandths: what a millisecond brings is ``rate`` of them.
        private var level: Int
        private var filledAt: UInt64 = 0

        init(rate: Int, least: Int) {
            self.rate = rate
            self.least = least
            level = rate * 1_000
        }

        mutating func fill(_ now: UInt64) {
            // After a second the bucket is full from wherever a message of the greatest size may have left it, or else
            // the time that it takes is bounded by what was taken.
            let elapsed = Int(min(now > filledAt ? now - filledAt : 0, 86_400_000))
            filledAt = max(filledAt, now)
            level = min(rate * 1_000, level + elapsed * rate)
        }

        /// How long until something may be taken, in milliseconds.
        var wait: UInt64 { level >= least ? 0 : UInt64((least - level + rate - 1) / rate) }

        mutating func take(_ cost: Int) {
            level -= cost * 1_000
        }
    }
}
