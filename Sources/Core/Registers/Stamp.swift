/// A reading of a hybrid logical clock: 48 bits of milliseconds since 1970 and a 16-bit counter.
///
/// Both live in one integer, milliseconds above counter, so that counting past 65,535 carries into the milliseconds
/// by itself (Kulkarni and Demirbas, "Logical Physical Clocks", 2014, section 6.2).
package struct Stamp: Hashable, Comparable, Sendable {
    /// The greatest number of milliseconds that a stamp can carry (the year 10889).
    package static let maximumMilliseconds: UInt64 = (1 << 48) - 1

    package static let zero = Stamp(rawValue: 0)

    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    package init(milliseconds: UInt64, counter: UInt16 = 0) {
        precondition(milliseconds <= Self.maximumMilliseconds)
        rawValue = milliseconds << 16 | UInt64(counter)
    }

    package var milliseconds: UInt64 { rawValue >> 16 }
    package var counter: UInt16 { UInt16(truncatingIfNeeded: rawValue) }

    /// The stamp right after this one: one more on the counter, carried into the milliseconds. The greatest stamp is its
    /// own next one: clients can name it, and naming it must not trap.
    package var next: Stamp { rawValue == .max ? self : Stamp(rawValue: rawValue + 1) }

    package static func < (left: Stamp, right: Stamp) -> Bool { left.rawValue < right.rawValue }
}
