import Registers
import SyncEngine
import SyncProtocol
import TestSupport

/// Batches that a simulated client makes up: see ``BatchLedger`` for what must be true of them.
extension Outbox {
    mutating func batch(_ world: World) -> ClientMessage {
        let id = newID()
        let batchName = "\(name)-\(nextID)"
        var batch = ClientMessage.Batch(id: id, members: [])
        let isOfGroup = Bool.random(using: &world.random)
        if isOfGroup {
            batch.members = writes(
                to: BatchLedger.group, named: batchName, deletes: Int.random(in: 0..<4, using: &world.random) == 0)
        } else {
            let keys = ["a:1", "b:1", "c", "l:1", "p:\(name)", "d:\(Int.random(in: 0..<40, using: &world.random))"]
                .shuffled(using: &world.random).prefix(Int.random(in: 1...4, using: &world.random))
            batch.members = writes(to: keys.map { Key(unchecked: Array($0.utf8)) }, named: batchName, deletes: false)
        }
        addClaim(to: &batch, world)
        require(of: &batch, world)
        let isSafe = Bool.random(using: &world.random)
        if isSafe { batch.op = Array("op-\(batchName)".utf8) }
        return note(.batch(batch), id, batch.members[0].key, isSafe: isSafe, true)
    }

    private func writes(to keys: [Key], named name: String, deletes: Bool) -> [ClientMessage.Batch.Member] {
        keys.enumerated().map { place, key in
            let value = Array(#"{"batch":"\#(name)","of":\#(keys.count),"place":\#(place)}"#.utf8)
            return .write(ClientMessage.Write(key: key, value: deletes ? nil : value))
        }
    }

    /// Has a batch rest on a claim, and perhaps give it up.
    private func addClaim(to batch: inout ClientMessage.Batch, _ world: World) {
        guard let (key, fence) = claims.sorted(by: { $0.key < $1.key }).randomElement(using: &world.random),
            !batch.members.contains(where: { $0.key == key })
        else { return }
        batch.requirements.append(.init(key: key, state: .fence(fence)))
        if Bool.random(using: &world.random) {
            batch.members.append(.release(ClientMessage.Lease(.release, key: key, fence: fence)))
        }
    }

    /// Has a batch expect what the last one of this client has made, of its own keys and of others: somebody else may have written since.
    private func require(of batch: inout ClientMessage.Batch, _ world: World) {
        for index in batch.members.indices where Int.random(in: 0..<4, using: &world.random) == 0 {
            let key = batch.members[index].key
            guard case .write(var write) = batch.members[index] else { continue }
            let version = versions[key]
            if Bool.random(using: &world.random) {
                write.condition = version.map { .version($0) } ?? .absent
                batch.members[index] = .write(write)
            } else {
                batch.requirements.append(.init(key: key, state: version.map { .version($0) } ?? .absent))
            }
        }
    }

    /// What became of a batch.
    mutating func answered(
        _ batch: ClientMessage.Batch, _ message: JSONObject, isFresh: Bool, _ world: World
    ) {
        world.oracle.answered(Self.name(of: batch), message, world)
        guard message.bool("applied") == true else {
            // So that the next one has a chance.
            for member in batch.members { versions[member.key] = nil }
            for failure in message.array("failed") ?? [] {
                guard let object = try? JSONObject(failure), let key = object.string("key").flatMap({ try? Key($0) })
                else { continue }
                let current = object.object("current")?.string("version").flatMap { try? Version($0) }
                if let place = object.integer("require"), Self.isMet(batch.requirements[Int(place)].state, by: current)
                {
                    world.note("\(name) was refused for \(key), which is as it was required to be")
                }
                versions[key] = current
            }
            return
        }
        let given = (message.array("versions") ?? []).compactMap { JSONObject.string($0).flatMap { try? Version($0) } }
        for (member, version) in zip(batch.members, given) {
            world.oracle.acknowledged(member.key, version, world)
            if isFresh { world.oracle.stamped(version, world) }
            switch member {
            case .write(let write): versions[member.key] = write.value == nil ? nil : version
            case .release: claims[member.key] = nil
            }
        }
    }

    /// Whether a version in place is what was required. (Of fences nothing can be said here.)
    private static func isMet(_ state: ClientMessage.Batch.Requirement.State, by current: Version?) -> Bool {
        switch state {
        case .absent: current == nil
        case .version(let version): current == version
        case .fence: false
        }
    }

    /// What the values of a batch call it.
    static func name(of batch: ClientMessage.Batch) -> String {
        for case .write(let write) in batch.members {
            if let name = write.value.flatMap({ try? JSONObject($0) })?.string("batch") { return name }
        }
        return ""
    }
}
