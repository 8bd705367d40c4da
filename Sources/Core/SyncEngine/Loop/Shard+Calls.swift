import Access
import Registers
import SyncProtocol

/// Calls that wait, and what reaches nobody.
extension Shard {
    /// Stops the waiting of a connection's calls: of one, or of all where `id` is nil.
    mutating func withdrawCalls(_ id: RequestID?, isAnswered: Bool, of connection: ConnectionID) {
        ask(.withdraw(id, isAnswered: isAnswered), of: connection)
    }

    /// Has the committer ask something of the rules that no client has asked for.
    private mutating func ask(_ action: WriteRequest.Action, of connection: ConnectionID) {
        writes.append(
            WriteRequest(
                action: action, agent: Agent(random: 0),
                origin: Origin(loop: configuration.loop, connection: connection)))
    }

    /// What follows from a result for calls that wait, before anybody is told of it.
    ///
    /// - Returns: whether there is nothing to tell.
    mutating func settleCall(_ result: CommittedChanges.Result, _ state: ConnectionState?) -> Bool {
        if case .waiting = result.outcome {
            guard let state else {
                // The connection went while it was on its way to wait.
                withdrawCalls(result.id, isAnswered: false, of: result.connection)
                return true
            }
            state.order.writeAnswered(cost: result.request.cost)
            state.waitingCalls.append(result.id)
            // It came behind it that nothing more will be sent.
            if state.order.isClosed { withdrawCalls(result.id, isAnswered: true, of: result.connection) }
            return true
        }
        if state == nil, case .called(let answer) = result.outcome, let claim = answer.handedOut {
            ask(.giveBack(claim), of: result.connection)
        }
        if result.isLate, let state, let index = state.waitingCalls.firstIndex(of: result.id) {
            state.waitingCalls.remove(at: index)
            if state.waitingCalls.isEmpty { state.waitingCalls = [] }
        }
        return false
    }
}
