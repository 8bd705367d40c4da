import Access
import Registers
import SyncEngine
import SyncProtocol

/// Messages, which stay until they are acknowledged or their time is over, and a board for all.
extension SwarmRules {
    func send(_ mail: Mail, _ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        let swarm = try swarmSlot(caller)
        let key: Key
        if let to = mail.to {
            try checkTopology(.message, to: to, caller)
            let inbox = Scope(matching: [try Pattern(SwarmKey.inboxPattern(caller.swarm, agent: to))])
            guard try commit.keyCount(in: inbox) < limits.inbox else {
                throw WireError(
                    .inboxFull, "\(to) has \(limits.inbox) messages that it has not acknowledged; that is the limit")
            }
            key = try SwarmKey.inbox(caller.swarm, agent: to, stamp: stamp(&commit)).key()
        } else {
            guard graph[swarm].facts.members[caller.agent] != nil else {
                throw WireError(
                    .notMember, "\(caller.agent) is no member of swarm \(caller.swarm)",
                    hint: "swarm.join makes it one")
            }
            key = try SwarmKey.board(caller.swarm, stamp: stamp(&commit)).key()
        }
        if let room = try commit.room(of: caller.request), room < 1 {
            throw WireError(.tooManyKeys, "these credentials have room for no more keys")
        }
        let life = mail.to == nil ? Self.boardLife : Self.inboxLife
        try put(key, value(of: mail, caller), life: life, caller.request, &commit)
        var object = JSONWriter(continues: true)
        object.add("key", key.bytes)
        return CallAnswer(.sent, members: object.finish())
    }

    private func value(of mail: Mail, _ caller: Caller) -> [UInt8] {
        var object = JSONWriter()
        object.add("from", caller.agent)
        object.add("to", mail.to)
        object.add("kind", mail.kind)
        object.add("body", raw: mail.body)
        if let replyTo = mail.replyTo { object.add("reply_to", replyTo) }
        return object.finish()
    }

    func acknowledge(_ keys: [Key], _ caller: Caller, _ commit: inout some CallContext) throws -> CallAnswer {
        for key in keys {
            guard case .inbox(let swarm, let agent, _) = SwarmKey(key), swarm == caller.swarm, agent == caller.agent
            else {
                throw WireError(
                    .forbidden, "\(key) is no message to \(caller.agent) in swarm \(caller.swarm)",
                    hint: "only the one whom a message is for acknowledges it")
            }
        }
        var count = 0
        for key in keys where try commit.current(of: key)?.register.isTombstone == false {
            try put(key, nil, caller.request, &commit)
            count += 1
        }
        var object = JSONWriter(continues: true)
        object.add("count", number: count)
        return CallAnswer(.acknowledged, members: object.finish())
    }
}
