import Foundation
import Registers

extension WallTime {
    /// What the machine's clock shows.
    static var now: WallTime { WallTime(milliseconds: UInt64(max(0, Date().timeIntervalSince1970 * 1_000))) }
}
