import Foundation
import Registers
import Synchronization

/// What the rest of the server takes as a parameter: the wall clock.
enum SystemClock {
    /// How far the wall clock was ahead of the machine's uptime, at most.
    private static let offset = Atomic<Int64>(.min)
    /// Uptime is counted from here on. It goes on while the machine sleeps.
    private static let start = ContinuousClock.now

    /// Never goes back while the process lives, so that what has expired stays expired: when the
    /// wall clock is set back, this one goes on from where it was.
    static func now() -> WallTime {
        let uptime = milliseconds(of: start.duration(to: .now))
        let ahead = Int64(Date().timeIntervalSince1970 * 1_000) - uptime
        return WallTime(milliseconds: UInt64(max(0, uptime + offset.max(ahead, ordering: .relaxed).newValue)))
    }

    private static func milliseconds(of duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    }
}
