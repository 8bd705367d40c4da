import Access
import Registers
import SyncEngine
import SyncProtocol

/// A call that waits for a task.
struct Waiter: Sendable {
    let request: WriteRequest
    let call: Call
    let next: NextTask
    let agent: Segment
    /// When it is answered that there is none, in milliseconds.
    let deadline: WallTime

    /// Whether a task is for it, as far as that can be said without a look at its claim.
    ///
    /// - Parameter isPresent: whether an agent is there: what is meant for one that is not may go to anybody.
    func fits(_ node: TaskNode, isPresent: (Segment) -> Bool) -> Bool {
        if let assignee = node.assignee, assignee != agent, isPresent(assignee) { return false }
        guard node.capabilities.isSubset(of: next.capabilities) else { return false }
        return request.grant?.write.admits(node.key) ?? true
    }
}
