import Foundation
import Synchronization

/// What the rest of the server takes as parameters: the wall clock, and which boot of the machine this is.
enum SystemClock {
    private static let latest = Atomic<UInt64>(0)

    /// Milliseconds since 1970. Never goes back while the process lives: what has expired stays expired.
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let now = UInt64(max(0, time.tv_sec)) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
        return latest.max(now, ordering: .relaxed).newValue
    }

    /// The kernel's id of this boot; nil where there is none.
    static func bootID() -> String? {
        (try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8))?
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
