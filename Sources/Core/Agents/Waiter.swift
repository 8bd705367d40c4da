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
}
