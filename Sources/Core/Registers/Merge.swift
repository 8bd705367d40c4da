/// The rule that decides between two registers of one key: a total order over whole registers, of which the greater
/// wins. A maximum is commutative, associative and idempotent, whatever order the registers arrive in.
extension Register {
    /// What merging a register into the current one came to.
    package enum Outcome: Equatable, Sendable {
        /// The candidate is greater and takes the place of the current one.
        case applied
        /// The candidate is the current one, again.
        case duplicate
        /// The current one is greater and stays.
        case superseded
    }

    /// Compares by version; then the later expiry (none is the latest); then a tombstone over a value; then the greater
    /// value; then metadata and session, the greater bytes, what is absent being least. `cause` does not count.
    ///
    /// Versions alone are not enough: sixteen processes that are all named `worker` do write in the same millisecond,
    /// and an expiry keeps the version of the value that it ends. The expiry comes before the value, so that what a
    /// register turns into when its time is over beats just the registers whose time is over by then: else two replicas
    /// that look at the clock at different times could end apart.
    ///
    /// - Returns: a negative number, zero or a positive number as `left` is less than, equal to or greater than `right`.
    package static func compare(_ left: Register, _ right: Register) -> Int {
        if left.version != right.version { return left.version < right.version ? -1 : 1 }
        let leftExpiry = left.expiresAt?.milliseconds ?? .max
        let rightExpiry = right.expiresAt?.milliseconds ?? .max
        if leftExpiry != rightExpiry { return leftExpiry < rightExpiry ? -1 : 1 }
        if left.isTombstone != right.isTombstone { return left.isTombstone ? 1 : -1 }
        let value = left.record.compare(.value, with: right.record)
        if value != 0 { return value }
        let metadata = left.record.compare(.metadata, with: right.record)
        if metadata != 0 { return metadata }
        return left.record.compare(.session, with: right.record)
    }

    /// Says what becomes of `candidate` where `current` is in place; nil stands for a key without a register.
    package static func merge(_ candidate: Register, into current: Register?) -> Outcome {
        guard let current else { return .applied }
        let order = compare(candidate, current)
        return order > 0 ? .applied : order == 0 ? .duplicate : .superseded
    }
}
