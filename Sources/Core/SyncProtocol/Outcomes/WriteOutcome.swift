package import Registers

/// What became of a write.
package enum WriteOutcome: Equatable, Sendable {
    /// It took effect, now or when it was first sent. `expiresAt`: when the register expires, in milliseconds since 1970;
    /// `isJudged`: whether a condition, or a fence, was looked at and met.
    case applied(version: Version, revision: Revision, expiresAt: WallTime? = nil, isJudged: Bool = false)
    /// A greater register was, and stays, in place.
    case superseded(version: Version, winner: StoredRegister)
    /// What it expected was not in place.
    case conditionFailed(current: StoredRegister?)
    /// A register was touched; `expiresAt`: when it expires now, nil: not by itself.
    case touched(version: Version, revision: Revision, expiresAt: WallTime?)
    /// There is nothing to be touched.
    case absent
    /// It was fanned out and not stored.
    case transient(version: Version)
    case refused(WireError)
    /// A claim was granted or renewed.
    case claimed(Grant)
    /// A claim was given up, now or earlier.
    case released(version: Version, revision: Revision)
    /// A claim, a renewal or a release that does not get what it wants. `holder` and `expiresAt` are those of the claim
    /// that is in force, if any is.
    case claimRefused(ErrorCode, holder: Agent?, expiresAt: WallTime?)
    /// A batch took effect, now or when it was first sent.
    case batched(BatchReceipt)
    /// Nothing of a batch took effect.
    case batchRefused([BatchFailure])
    /// Registers from another database were merged.
    case replicated(ReplicationReceipt)
    /// What a call came to.
    case called(CallAnswer)
    /// A call waits: it is answered later, whatever the connection sends meanwhile.
    case waiting
    /// Nothing that anybody is told of.
    case done

    /// What a claim gives.
    package struct Grant: Equatable, Sendable {
        /// The fencing token, which only rises for a key.
        package var fence: Fence
        /// When the lease ends unless it is renewed, in milliseconds since 1970 by the server's clock.
        package var expiresAt: WallTime
        package var version: Version
        package var revision: Revision

        package init(fence: Fence, expiresAt: WallTime, version: Version, revision: Revision) {
            self.fence = fence
            self.expiresAt = expiresAt
            self.version = version
            self.revision = revision
        }
    }
}
