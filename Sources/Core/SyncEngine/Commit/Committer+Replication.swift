import Registers
import SyncProtocol

/// Registers from another database: merged one by one, in one commit, and answered together.
extension Committer {
    mutating func replicate(
        _ registers: [Register], _ request: WriteRequest, now: WallTime, in draft: inout CommitDraft
    ) throws(StoreError) {
        var receipt = ReplicationReceipt()
        for register in registers {
            let current = try current(of: register.key, in: draft)
            switch judge.merge(register, current: current, now: now) {
            case .apply(let change):
                let stored = StoredRegister(change.register, revision: draft.head.next, fence: change.fence)
                apply(stored, replacing: current, origin: request.origin, in: &draft)
                if owner(of: register.key, in: draft) != nil { draft.own(register.key, by: nil) }
                receipt.applied += 1
            case .answer(.applied): receipt.same += 1
            case .answer(.superseded): receipt.superseded += 1
            case .answer(.refused(let error)): receipt.refused.append(.init(register.key, error))
            case .answer, .fanOut: preconditionFailure("a merge has no other verdict")
            }
        }
        draft.answer(request, .replicated(receipt))
    }
}
