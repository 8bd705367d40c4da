package import Registers

/// What a batch was given when it took effect. Its writes have revisions and stamps one after the other, in their order.
package struct BatchReceipt: Equatable, Sendable {
    /// The revision of its first write.
    package var firstRevision: Revision
    /// The version of its first write; the others have the next stamps.
    package var firstVersion: Version
    /// How many writes there were; at least one.
    package var count: Int
    /// How much was required and met: requirements, conditions and releases.
    package var judged = 0
    /// The claims that were given up by it now: none where it took effect earlier.
    package var released: [ClientMessage.FencedKey]

    package init(firstRevision: Revision, firstVersion: Version, count: Int, released: [ClientMessage.FencedKey] = []) {
        precondition(count > 0)
        self.firstRevision = firstRevision
        self.firstVersion = firstVersion
        self.count = count
        self.released = released
    }

    package var lastRevision: Revision { firstRevision + UInt64(count - 1) }

    /// The version of each write.
    package var versions: [Version] {
        (0..<UInt64(count)).map { index in
            Version(stamp: Stamp(rawValue: firstVersion.stamp.rawValue + index), agent: firstVersion.agent)
        }
    }
}
