/// The place of a change in one database: they rise by one from change to change. 0 is before the first one.
package struct Revision: Hashable, Sendable {
    package let rawValue: UInt64

    @inlinable
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The next change's.
    @inlinable
    package var next: Revision { Revision(rawValue + 1) }

    /// The revision so many changes later.
    @inlinable
    package static func + (left: Revision, right: UInt64) -> Revision { Revision(left.rawValue + right) }

    // Written out, so that it is inlined in other modules.
    @inlinable
    package static func == (left: Revision, right: Revision) -> Bool { left.rawValue == right.rawValue }
}

extension Revision: Comparable {
    @inlinable
    package static func < (left: Revision, right: Revision) -> Bool { left.rawValue < right.rawValue }
}

extension Revision: ExpressibleByIntegerLiteral {
    @inlinable
    package init(integerLiteral value: UInt64) { self.init(value) }
}

extension Revision: CustomStringConvertible {
    package var description: String { "\(rawValue)" }
}
