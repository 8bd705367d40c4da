package import Registers

/// When an input of a ``Shard`` is dealt with.
package struct Turn: Sendable {
    /// The revision of the latest commit, which the event loop may not have been told of yet.
    package var head: Revision
    /// The wall clock, in milliseconds.
    package var now: WallTime

    package init(head: Revision, now: WallTime) {
        self.head = head
        self.now = now
    }
}
