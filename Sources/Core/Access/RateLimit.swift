package import Registers
import Synchronization

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
    /// - Parameter count: as how many.
    /// - Returns: nil if it may pass, else how long to wait before the next one, in milliseconds; nothing is counted then.
    package mutating func take(bytes size: Int, messages count: Int = 1, now: WallTime) -> UInt64? {
        messages?.fill(now)
        bytes?.fill(now)
        let wait = max(messages?.wait ?? 0, bytes?.wait ?? 0)
        guard wait == 0 else { return wait }
        messages?.take(count)
        bytes?.take(size)
        return nil
    }

    private struct Bucket {
        private let rate: Int
        /// What has to be there for anything to be taken.
        private let least: Int
        /// In thousandths: what a millisecond brings is ``rate`` of them.
        private var level: Int
        private var filledAt: WallTime = 0

        init(rate: Int, least: Int) {
            self.rate = rate
            self.least = least
            level = rate * 1_000
        }

        mutating func fill(_ now: WallTime) {
            let elapsed = Int(clamping: now > filledAt ? now - filledAt : 0)
            // Also when the clock was set back: nobody is to wait for it to catch up.
            filledAt = now
            let (gained, isOver) = elapsed.multipliedReportingOverflow(by: rate)
            level = isOver || gained >= rate * 1_000 - level ? rate * 1_000 : level + gained
        }

        /// How long until something may be taken, in milliseconds.
        var wait: UInt64 { level >= least ? 0 : UInt64((least - level + rate - 1) / rate) }

        mutating func take(_ cost: Int) {
            level -= cost * 1_000
        }
    }
}

/// A rate limit for several connections together.
package final class RateLimiter: Sendable {
    package let limits: RateLimit.Limits
    private let state: Mutex<RateLimit>

    package init(_ limits: RateLimit.Limits) {
        self.limits = limits
        state = Mutex(RateLimit(limits))
    }

    /// Counts a message, as ``RateLimit/take(bytes:messages:now:)`` does.
    package func take(bytes: Int, messages: Int = 1, now: WallTime) -> UInt64? {
        state.withLock { $0.take(bytes: bytes, messages: messages, now: now) }
    }
}
