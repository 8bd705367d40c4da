/// The number of a register's row in one database. It stays with the key from change to change: it is the revision of the first of them, and
/// so no other row ever had it.
package struct RowID: Hashable, Sendable {
    package let rawValue: UInt64

    @inlinable
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The row of a key whose first change has this revision.
    @inlinable
    package init(first: Revision) { rawValue = first.rawValue }

    // Written out, so that it is inlined in other modules.
    @inlinable
    package static func == (left: RowID, right: RowID) -> Bool { left.rawValue == right.rawValue }
}

extension RowID: CustomStringConvertible {
    package var description: String { "\(rawValue)" }
}
