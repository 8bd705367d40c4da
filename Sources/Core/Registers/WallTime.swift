/// A moment by a wall clock, in milliseconds since 1970 (UTC). Clocks may be set: one that is read later may show less.
package struct WallTime: Hashable, Sendable {
    package let milliseconds: UInt64

    @inlinable
    package init(milliseconds: UInt64) { self.milliseconds = milliseconds }

    /// Before all others.
    @inlinable
    package static var zero: WallTime { WallTime(milliseconds: 0) }

    /// The moment so many milliseconds later.
    @inlinable
    package static func + (left: WallTime, right: UInt64) -> WallTime {
        WallTime(milliseconds: left.milliseconds + right)
    }

    /// The moment so many milliseconds earlier, or ``zero``.
    @inlinable
    package static func - (left: WallTime, right: UInt64) -> WallTime {
        WallTime(milliseconds: left.milliseconds > right ? left.milliseconds - right : 0)
    }

    /// How many milliseconds lie between an earlier moment and a later one.
    @inlinable
    package static func - (later: WallTime, earlier: WallTime) -> UInt64 {
        later.milliseconds - earlier.milliseconds
    }

    // Written out, so that it is inlined in other modules.
    @inlinable
    package static func == (left: WallTime, right: WallTime) -> Bool { left.milliseconds == right.milliseconds }
}

extension WallTime: Comparable {
    @inlinable
    package static func < (left: WallTime, right: WallTime) -> Bool { left.milliseconds < right.milliseconds }
}

extension WallTime: ExpressibleByIntegerLiteral {
    @inlinable
    package init(integerLiteral value: UInt64) { self.init(milliseconds: value) }
}

extension WallTime: CustomStringConvertible {
    package var description: String { "\(milliseconds)" }
}
