import Foundation

/// Which boot of the machine this is.
enum BootID {
    /// The kernel's id of this boot; nil where there is none.
    static func read() -> String? {
        (try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8))?
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
