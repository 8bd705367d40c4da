/// A fencing token (Kleppmann, "How to do distributed locking", 2016): for a key it only rises, from claim to claim. 0 is before the
/// first one.
package struct Fence: Hashable, Sendable {
    package let rawValue: UInt64

    @inlinable
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The least that is above it.
    @inlinable
    package var next: Fence { Fence(rawValue + 1) }

    // Written out, so that it is inlined in other modules.
    @inlinable
    package static func == (left: Fence, right: Fence) -> Bool { left.rawValue == right.rawValue }
}

extension Fence: Comparable {
    @inlinable
    package static func < (left: Fence, right: Fence) -> Bool { left.rawValue < right.rawValue }
}

extension Fence: ExpressibleByIntegerLiteral {
    @inlinable
    package init(integerLiteral value: UInt64) { self.init(value) }
}

extension Fence: CustomStringConvertible {
    package var description: String { "\(rawValue)" }
}
