import Foundation
import Synchronization

/// What the rest of the server takes as parameters: the wall clock, and which boot of the machine this is.
enum SystemClock {
    /// How far the wall clock was ahead of the machine's uptime, at most.
    private static let offset = Atomic<Int64>(.min)

    /// Milliseconds since 1970. Never goes back while the process lives, so that what has expired stays expired: when the
    /// wall clock is set back, this one goes on from where it was.
    static func now() -> UInt64 {
        #if os(Linux)
            // Goes on while the machine sleeps.
            let uptime = milliseconds(of: CLOCK_BOOTTIME)
        #else
            let uptime = milliseconds(of: CLOCK_MONOTONIC)
        #endif
        let ahead = milliseconds(of: CLOCK_REALTIME) - uptime
        return UInt64(max(0, uptime + offset.max(ahead, ordering: .relaxed).newValue))
    }

    private static func milliseconds(of clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// The kernel's id of this boot; nil where there is none.
    static func bootID() -> String? {
        (try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8))?
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
