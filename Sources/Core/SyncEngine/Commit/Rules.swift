package import Access
package import Registers
package import SyncProtocol

/// What decides on calls, within the commit that carries them out: over registers that are all current, with nothing in between.
///
/// What it remembers is an index over registers, and never the truth: it is loaded from the database, and again whenever nobody knows what a
/// commit has come to. All calls come from the committer's thread.
package protocol Rules: AnyObject {
    /// Whether only calls write a key, whether it exists or not.
    func guards(_ key: Key) -> Bool
    /// Whether nobody may claim a key: what calls write must not be kept from them.
    func isNeverClaimed(_ key: Key) -> Bool
    /// Whether ``changed(_:from:_:)`` wants to hear of a key's changes.
    func watches(_ key: Key) -> Bool

    /// Whether the index is there.
    var isLoaded: Bool { get }
    /// Makes the index from what the database has.
    func load(_ commit: inout some CallContext) throws(StoreError)
    /// Forgets the index: what it was made from may be otherwise. Who waits goes on waiting.
    func forget()

    /// Carries a call out, and answers it, now or later.
    func carryOut(_ call: Call, _ request: WriteRequest, _ commit: inout some CallContext) throws(StoreError)
    /// A register that is watched was changed by something else than a call.
    func changed(
        _ new: StoredRegister, from old: StoredRegister?, _ commit: inout some CallContext
    ) throws(StoreError)
    /// Calls of a connection wait no longer.
    ///
    /// - Parameters:
    ///   - id: that of the call; nil: all of the connection's.
    ///   - isAnswered: whether they are told so.
    func withdraw(_ id: RequestID?, isAnswered: Bool, of origin: Origin, _ commit: inout some CallContext)
    /// What a call was given has reached nobody.
    func giveBack(
        _ claim: ClientMessage.FencedKey, _ request: WriteRequest, _ commit: inout some CallContext
    ) throws(StoreError)

    /// When there is something to do next, in milliseconds; nil: never.
    var nextDue: WallTime? { get }
    func carryOutDue(_ commit: inout some CallContext) throws(StoreError)

    /// How many stamps it takes at most in one commit for what no request has asked for.
    var maximumStamps: Int { get }
    /// What was done since the last of these is on the disk.
    func committed()
    /// It is not, and is taken back.
    func rolledBack()
}

/// What rules see of a commit, and do in it.
package protocol CallContext {
    /// The wall clock.
    var now: WallTime { get }
    /// Whether what connections of an earlier run had is being ended.
    var isStart: Bool { get }

    /// The register of a key, tombstones too, with all that was done in the commit so far.
    mutating func current(of key: Key) throws(StoreError) -> StoredRegister?
    /// As ``current(of:)``, for what is looked at once: it takes nothing else's place in the cache.
    mutating func glance(at key: Key) throws(StoreError) -> StoredRegister?
    /// Keys within `range` in their order, of registers that are no tombstones, as of the last commit.
    ///
    /// - Parameter isLasting: whether only those count that do not expire.
    mutating func keys(in range: Range<Key>, limit: Int, isLasting: Bool) throws(StoreError) -> [Key]
    /// How many keys there are in a scope.
    mutating func keyCount(in scope: Scope) throws(StoreError) -> Int
    /// How many keys the sender of a request may still make; nil: any number.
    mutating func room(of request: WriteRequest) throws(StoreError) -> Int?
    /// How many changes were made in the commit so far.
    var changeCount: Int { get }
    /// A stamp that is given to nothing else.
    mutating func nextStamp() -> Stamp

    /// Writes as the sender of `request`, by the rules of any write but that of guarded keys.
    mutating func write(
        _ write: ClientMessage.Write, for request: WriteRequest
    ) throws(StoreError) -> WriteOutcome
    /// Claims, renews or releases likewise. What ends with a connection is noted, and goes with the answer to `request`.
    mutating func lease(
        _ lease: ClientMessage.Lease, for request: WriteRequest
    ) throws(StoreError) -> WriteOutcome

    /// - Parameter isLate: whether the request was told before that it waits.
    mutating func answer(_ request: WriteRequest, _ outcome: WriteOutcome, isLate: Bool)
    /// What was answered to a request that is known again, as long as that is remembered.
    mutating func keptAnswer(to operation: OperationID) throws(StoreError) -> [UInt8]?
    mutating func keep(_ answer: KeptAnswer)
}

/// Rules that know no calls, for a committer that only merges.
package final class NoRules: Rules {
    package init() {}

    package func guards(_ key: Key) -> Bool { false }
    package func isNeverClaimed(_ key: Key) -> Bool { false }
    package func watches(_ key: Key) -> Bool { false }
    package var isLoaded: Bool { true }
    package func load(_ commit: inout some CallContext) {}
    package func forget() {}

    package func carryOut(_ call: Call, _ request: WriteRequest, _ commit: inout some CallContext) {
        commit.answer(
            request, .refused(WireError(.unknownType, "nothing here carries out \(call.name.rawValue)")), isLate: false)
    }

    package func changed(_ new: StoredRegister, from old: StoredRegister?, _ commit: inout some CallContext) {}
    package func withdraw(_ id: RequestID?, isAnswered: Bool, of origin: Origin, _ commit: inout some CallContext) {}
    package func giveBack(
        _ claim: ClientMessage.FencedKey, _ request: WriteRequest, _ commit: inout some CallContext
    ) {}
    package var nextDue: WallTime? { nil }
    package func carryOutDue(_ commit: inout some CallContext) {}
    package var maximumStamps: Int { 0 }
    package func committed() {}
    package func rolledBack() {}
}
