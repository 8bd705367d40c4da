/// A hybrid logical clock: stamps that follow the wall clock, yet always rise.
///
/// The wall clock is a parameter. Whether a stamp from outside is believable (drift) is the caller's to decide, against
/// the wall clock and never against this clock: else a client could ratchet it up.
package struct HybridLogicalClock: Equatable, Sendable {
    /// The greatest stamp issued or received.
    package private(set) var last: Stamp

    /// - Parameter last: a bound that no earlier stamp passed; after a restart, the persisted one.
    package init(last: Stamp = .zero) {
        self.last = last
    }

    /// Issues a stamp greater than every one before, at `now` or later.
    package mutating func tick(at now: WallTime) -> Stamp {
        last = max(last.next, Stamp(milliseconds: now.milliseconds))
        return last
    }

    /// Receives a stamp that was accepted from outside, so that the next one issued is greater.
    package mutating func receive(_ stamp: Stamp) {
        last = max(last, stamp)
    }
}
