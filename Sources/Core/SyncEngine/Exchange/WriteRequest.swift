package import Access
package import Registers
package import SyncProtocol

/// A change on its way to the committer, and its answer's on the way back. An object, as it changes hands half a dozen times and never changes.
package final class WriteRequest: Sendable {
    package enum Action: Sendable {
        case write(ClientMessage.Write)
        case lease(ClientMessage.Lease)
        case touch(ClientMessage.Touch)
        case batch(Batch)
        /// An ephemeral key whose connection lives goes on.
        case keep(EphemeralKey)
        /// An ephemeral key whose connection is gone ends.
        case end(EphemeralKey)
        /// Rules decide on it.
        case call(Call)
        /// Calls of the connection wait no longer: the one with this id, or all. `isAnswered`: whether they are told so.
        case withdraw(RequestID?, isAnswered: Bool)
        /// What a call was given has reached nobody.
        case giveBack(ClientMessage.FencedKey)
        /// Registers from another database are merged as they are, however far ahead their stamps may be. Each by itself: one that is
        /// refused keeps back none of the others.
        case replicate([Register], id: RequestID?)
    }

    /// A batch, and by what it is known again.
    package struct Batch: Sendable {
        package let message: ClientMessage.Batch
        /// nil: it has no op.
        package let operation: OperationID?

        /// - Parameter bearer: ``Grant/bearer`` of who sent it.
        package init(_ message: ClientMessage.Batch, bearer: @autoclosure () -> [UInt8]) {
            self.message = message
            operation = message.op.map { OperationID(op: $0, bearer: bearer()) }
        }
    }

    package let action: Action
    /// The agent of the connection.
    package let agent: Agent
    /// The stamp for a write that brings milliseconds only; nil where the server stamps, or the write brings a version.
    package let stamp: Stamp?
    package let origin: Origin
    /// What a call may, and what limits how many keys there may be; nil where nothing does.
    package let grant: Grant?
    /// What queues are bounded by.
    package let cost: Int
    /// The key that it is about; nil: it is about several.
    package let key: Key?
    /// The id that the answer carries.
    package let id: RequestID?
    /// The lease that has to be in force.
    let fence: ClientMessage.FencedKey?
    let isTransient: Bool
    /// The stamp that a write brings, as far as the client has set it.
    let brought: Stamp?

    package init(action: Action, agent: Agent, stamp: Stamp? = nil, origin: Origin, grant: Grant? = nil) {
        // Rules look at what their callers may see.
        let isLookedAt = if case .call = action { true } else { grant?.maximumKeys != nil }
        self.grant = isLookedAt ? grant : nil
        self.action = action
        self.agent = agent
        self.stamp = stamp
        self.origin = origin
        cost = action.cost
        key = action.key
        id = action.id
        if case .write(let write) = action {
            fence = write.fence
            isTransient = write.isTransient
            brought = if case .version(let version) = write.stamping { version.stamp } else { stamp }
        } else {
            fence = nil
            isTransient = false
            brought = nil
        }
    }

    package convenience init(
        write: ClientMessage.Write, agent: Agent, stamp: Stamp? = nil, origin: Origin, grant: Grant? = nil
    ) {
        self.init(action: .write(write), agent: agent, stamp: stamp, origin: origin, grant: grant)
    }

    /// Whether a client's message is behind it, which is answered and counted as under way.
    package var isFromClient: Bool {
        switch action {
        case .write, .lease, .touch, .batch, .replicate, .call: true
        case .keep, .end, .withdraw, .giveBack: false
        }
    }

    /// Whether it is about an ephemeral key of its connection.
    var isOfEphemeral: Bool {
        switch action {
        case .keep, .end: true
        case .write, .lease, .touch, .batch, .replicate, .call, .withdraw, .giveBack: false
        }
    }

    /// Whether what it makes is to end with the connection.
    var endsWithConnection: Bool {
        switch action {
        case .write(let write): write.endsWithConnection
        case .lease(let lease): lease.endsWithConnection
        case .call(let call): call.endsWithConnection
        case .touch, .batch, .keep, .end, .replicate, .withdraw, .giveBack: false
        }
    }

    /// How many registers it looks at.
    package var rows: Int {
        switch action {
        case .batch(let batch): batch.message.rows
        case .replicate(let registers, _): registers.count
        case .call(let call): call.rows
        case .write, .lease, .touch, .keep, .end, .withdraw, .giveBack: 1
        }
    }

    static func cost(of registers: [Register]) -> Int {
        registers.reduce(256) { $0 + cost($1.record) }
    }

    static func cost(_ record: Record) -> Int {
        256 + record.count
    }
}

extension WriteRequest.Action {
    fileprivate var key: Key? {
        switch self {
        case .write(let write): write.key
        case .lease(let lease): lease.key
        case .touch(let touch): touch.key
        case .batch, .replicate, .call, .withdraw, .giveBack: nil
        case .keep(let ephemeral), .end(let ephemeral): ephemeral.key
        }
    }

    fileprivate var id: RequestID? {
        switch self {
        case .write(let write): write.id
        case .lease(let lease): lease.id
        case .touch(let touch): touch.id
        case .batch(let batch): batch.message.id
        case .replicate(_, let id): id
        case .call(let call): call.id
        case .keep, .end, .withdraw, .giveBack: nil
        }
    }

    fileprivate var cost: Int {
        switch self {
        case .write(let write): write.cost
        case .lease(let lease): lease.cost
        case .touch(let touch): WriteRequest.cost(touch.key.record)
        case .batch(let batch): batch.message.cost
        case .keep(let ephemeral), .end(let ephemeral): WriteRequest.cost(ephemeral.key.record)
        case .replicate(let registers, _): WriteRequest.cost(of: registers)
        case .call(let call): call.cost
        case .withdraw: 256
        case .giveBack(let claim): WriteRequest.cost(claim.key.record)
        }
    }
}

extension Call {
    /// How many registers it looks at.
    var rows: Int {
        switch action {
        case .submit(let tasks): tasks.reduce(0) { $0 + 1 + $1.dependencies.count }
        case .depend(_, let on): 1 + on.count
        case .acknowledge(let keys): keys.count
        default: 1
        }
    }

    /// Whether it may look at, or change, thousands of tasks.
    var mayTakeLong: Bool {
        switch action {
        case .initialize, .status, .end, .submit, .retry, .cancel, .depend: true
        case .join, .leave, .next, .progress, .complete, .fail, .release, .park, .resume, .assign, .revoke, .send,
            .acknowledge:
            false
        }
    }

    /// About how much memory it takes, in bytes.
    var cost: Int { 512 + 2 * size }

    /// How many stamps it takes at most: each task has a row, its input, its copy and a line of the log, and what follows from it is bounded.
    var maximumStamps: Int {
        if case .submit(let tasks) = action { return 16_384 + 4 * tasks.count }
        return 16_384
    }

    /// Whether what it makes is to end with the connection.
    var endsWithConnection: Bool {
        switch action {
        case .next(let next): next.endsWithConnection
        case .join(let membership): membership.timeToLive == nil
        default: false
        }
    }
}

extension ClientMessage.Write {
    /// About how much memory the write takes, in bytes.
    var cost: Int { WriteRequest.cost(record) }
}

extension ClientMessage.Lease {
    /// Likewise.
    var cost: Int { WriteRequest.cost(key.record) + (value?.count ?? 0) + (metadata?.count ?? 0) }
}

extension ClientMessage.Batch {
    /// How many registers it looks at.
    var rows: Int { members.count + requirements.count }

    /// About how much memory the batch takes, and its answer, in bytes.
    var cost: Int {
        // A version with an agent of 64 quotes.
        let version = 160
        var cost = requirements.reduce(256) { $0 + WriteRequest.cost($1.key.record) } + version * members.count
        for member in members {
            switch member {
            case .write(let write): cost += write.cost
            case .release(let lease): cost += lease.cost
            }
        }
        return cost
    }
}
