package import Access
package import NIOCore
package import Registers
package import SyncProtocol
import Synchronization

/// A call that a service answers, with whom it is answered for.
package struct ServiceRequest: Sendable {
    package let connection: ConnectionID
    package let call: ServiceCall
    package let grant: Grant
    package let agent: Agent
    package let session: [UInt8]?
    /// The latest commit: whoever was told of anything was told of nothing later. The answer is to know of all that.
    package let head: Revision
    /// Whether somebody still waits for the answer.
    package let life: CallLife
}

/// Whether a connection is still there, for who works for it elsewhere.
package final class CallLife: Sendable {
    private let isOver = Atomic<Bool>(false)

    package var isWanted: Bool { !isOver.load(ordering: .relaxed) }

    func end() { isOver.store(true, ordering: .relaxed) }
}

/// What a service answers.
package struct ServiceAnswer: Sendable {
    package let connection: ConnectionID
    package let id: RequestID?
    /// The whole message.
    package let message: ByteBuffer

    package init(to request: ServiceRequest, _ message: ByteBuffer) {
        connection = request.connection
        id = request.call.id
        self.message = message
    }
}

/// Calls that services answer: they wait for the writes before them, and hold nothing up.
extension Shard {
    mutating func serve(_ call: ServiceCall, of state: ConnectionState, _ turn: Turn) {
        state.waitingCalls.append(call.id)
        state.services += 1
        let life = state.life ?? CallLife()
        state.life = life
        services.append(
            ServiceRequest(
                connection: state.id, call: call, grant: state.grant, agent: state.agent, session: state.session,
                head: turn.head, life: life))
    }

    /// Up to which commit a connection has been handed everything that it is subscribed to, be it dropped or not; nil: it is catching up.
    package func position(of id: ConnectionID) -> Revision? {
        guard let state = connection(id), state.catchingUp.isEmpty, state.unsynced == 0, !state.isBackedUp else {
            return nil
        }
        return delivered
    }

    /// A service has answered.
    package mutating func serviceAnswered(_ answer: ServiceAnswer, _ turn: Turn) {
        guard let state = connection(answer.connection),
            let index = state.waitingCalls.firstIndex(of: answer.id)
        else { return }
        state.waitingCalls.remove(at: index)
        if state.waitingCalls.isEmpty { state.waitingCalls = [] }
        state.services -= 1
        reply(to: state.id) { $0.writeImmutableBuffer(answer.message) }
        runWaiting(of: state.id, turn)
    }
}
