package import Registers
package import SyncProtocol

/// Batches: all members are judged over the state before the batch, and then all are made, or none is.
extension WriteJudge {
    /// What keeps a batch from taking effect; empty: nothing does.
    ///
    /// - Parameters:
    ///   - required: the register of each requirement's key, tombstones too, with the effects of all earlier requests.
    ///   - current: that of each member's key, likewise.
    ///   - now: the wall clock, in milliseconds.
    package func failures(
        of batch: ClientMessage.Batch, required: [StoredRegister?], current: [StoredRegister?], now: WallTime
    ) -> [BatchFailure] {
        precondition(required.count == batch.requirements.count && current.count == batch.members.count)
        var failures: [BatchFailure] = []
        for (index, requirement) in batch.requirements.enumerated() {
            let visible = Self.visible(required[index], now: now)
            guard let reason = Self.problem(requirement.state, visible, now: now) else { continue }
            failures.append(
                BatchFailure(.requirement(index), key: requirement.key, reason: reason, current: visible))
        }
        for (index, member) in batch.members.enumerated() {
            let visible = Self.visible(current[index], now: now)
            guard let reason = problem(member, visible, now: now) else { continue }
            failures.append(BatchFailure(.write(index), key: member.key, reason: reason, current: visible))
        }
        return failures
    }

    private static func visible(_ stored: StoredRegister?, now: WallTime) -> StoredRegister? {
        stored.flatMap { $0.register.isVisible(at: now) ? $0 : nil }
    }

    private static func problem(
        _ state: ClientMessage.Batch.Requirement.State, _ visible: StoredRegister?, now: WallTime
    ) -> BatchFailure.Reason? {
        switch state {
        case .absent: visible == nil ? nil : .condition
        case .version(let version): visible?.register.version == version ? nil : .condition
        case .fence(let fence): isInForce(fence, visible, now: now) ? nil : .staleFence
        }
    }

    private func problem(
        _ member: ClientMessage.Batch.Member, _ visible: StoredRegister?, now: WallTime
    ) -> BatchFailure.Reason? {
        switch member {
        case .release(let lease):
            // One that is over is not given up: who relies on it to be in force must not be told that it was.
            return Self.isInForce(lease.fence, visible, now: now) ? nil : .staleFence
        case .write(let write):
            if visible?.isHeld(at: now) == true { return .held }
            return checkCondition(write, current: visible, now: now) == nil ? nil : .condition
        }
    }

    private static func isInForce(_ fence: Fence?, _ visible: StoredRegister?, now: WallTime) -> Bool {
        guard let visible else { return false }
        return visible.isHeld(at: now) && visible.fence == fence
    }

    /// Makes the registers of a batch that nothing keeps from taking effect, with consecutive stamps.
    ///
    /// - Parameters: as above; `agent` is the one that writes.
    package mutating func changes(
        of batch: ClientMessage.Batch, agent: Agent, current: [StoredRegister?], now: WallTime
    ) -> [Change] {
        zip(batch.members, current).map { member, current in
            // The clock has received every stamp in the database, so this one is above the current register's.
            let version = Version(stamp: clock.tick(at: now), agent: agent)
            let register: Register
            switch member {
            case .release(let lease):
                register = Register(key: lease.key, version: version, value: nil, session: current?.register.session)
            case .write(let write):
                register = Self.register(of: write, version: version, replacing: current, now: now)
                assert(Register.merge(register, into: current?.register) == .applied)
            }
            return Change(register: register, kind: .write, fence: current?.fence ?? 0)
        }
    }
}
