package import Registers

/// The layout of a swarm's keys: `swarm:<swarm>:…`, each name escaped as a ``Segment`` is.
package enum SwarmKey: Equatable, Sendable {
    case config(Segment)
    case member(Segment, agent: Segment)
    /// `presence` tells the connections of an agent apart: of two, the end of one takes nobody down.
    case presence(Segment, agent: Segment, presence: Segment)
    case task(Segment, Segment)
    case claim(Segment, task: Segment)
    case input(Segment, task: Segment)
    case result(Segment, task: Segment)
    case progress(Segment, task: Segment)
    case inbox(Segment, agent: Segment, stamp: [UInt8])
    case board(Segment, stamp: [UInt8])
    case log(Segment, stamp: [UInt8])

    /// What the keys of all swarms begin with.
    package static let prefix = Array("swarm:".utf8)

    /// The key itself.
    ///
    /// - Throws: ``TextError`` where it would be too long for a key.
    package func key() throws(TextError) -> Key {
        let bytes = text
        try Key.validate(bytes.span)
        return Key(unchecked: bytes)
    }

    private var text: [UInt8] {
        switch self {
        case .config(let swarm): Self.join(swarm, "config")
        case .member(let swarm, let agent): Self.join(swarm, "member", agent.escaped)
        case .presence(let swarm, let agent, let presence):
            Self.join(swarm, "agent", agent.escaped, presence.escaped)
        case .task(let swarm, let task): Self.join(swarm, "task", task.escaped)
        case .claim(let swarm, let task): Self.join(swarm, "task", task.escaped, Array("claim".utf8))
        case .input(let swarm, let task): Self.join(swarm, "task", task.escaped, Array("input".utf8))
        case .result(let swarm, let task): Self.join(swarm, "task", task.escaped, Array("result".utf8))
        case .progress(let swarm, let task): Self.join(swarm, "task", task.escaped, Array("progress".utf8))
        case .inbox(let swarm, let agent, let stamp): Self.join(swarm, "inbox", agent.escaped, stamp)
        case .board(let swarm, let stamp): Self.join(swarm, "board", stamp)
        case .log(let swarm, let stamp): Self.join(swarm, "log", stamp)
        }
    }

    private static func join(_ swarm: Segment, _ kind: String, _ rest: [UInt8]...) -> [UInt8] {
        var text = prefix + swarm.escaped + [Key.separator] + Array(kind.utf8)
        for part in rest { text += [Key.separator] + part }
        return text
    }

    /// Reads a key.
    ///
    /// - Returns: nil where it is no key of a swarm's, or has a segment that no name gives.
    package init?(_ key: Key) {
        guard Self.isOfSwarm(key) else { return nil }
        let parts = key.bytes.split(separator: Key.separator, omittingEmptySubsequences: false)
        guard 3...5 ~= parts.count, let swarm = Segment(escaped: parts[1]) else { return nil }
        func name(_ index: Int) -> Segment? { Segment(escaped: parts[index]) }
        let kind = String(decoding: parts[2], as: UTF8.self)
        switch (kind, parts.count) {
        case ("config", 3): self = .config(swarm)
        case ("member", 4):
            guard let agent = name(3) else { return nil }
            self = .member(swarm, agent: agent)
        case ("agent", 5):
            guard let agent = name(3), let presence = name(4) else { return nil }
            self = .presence(swarm, agent: agent, presence: presence)
        case ("task", 4):
            guard let task = name(3) else { return nil }
            self = .task(swarm, task)
        case ("task", 5):
            guard let task = name(3) else { return nil }
            switch String(decoding: parts[4], as: UTF8.self) {
            case "claim": self = .claim(swarm, task: task)
            case "input": self = .input(swarm, task: task)
            case "result": self = .result(swarm, task: task)
            case "progress": self = .progress(swarm, task: task)
            default: return nil
            }
        case ("inbox", 5):
            guard let agent = name(3) else { return nil }
            self = .inbox(swarm, agent: agent, stamp: Array(parts[4]))
        case ("board", 4): self = .board(swarm, stamp: Array(parts[3]))
        case ("log", 4): self = .log(swarm, stamp: Array(parts[3]))
        default: return nil
        }
    }

    package static func isOfSwarm(_ key: Key) -> Bool { key.withBytes { starts($0, with: prefix) } }

    private static func starts(_ bytes: Span<UInt8>, with prefix: [UInt8]) -> Bool {
        guard bytes.count >= prefix.count else { return false }
        for index in prefix.indices where bytes[index] != prefix[index] { return false }
        return true
    }

    /// Whether only calls write a key, by the key alone: rows of tasks and what belongs to them, inboxes and the board. Decided by the number of
    /// segments, so that a name that no ``Segment`` gives is no way around it.
    package static func isGuarded(_ key: Key) -> Bool {
        key.withBytes { bytes in
            guard starts(bytes, with: prefix) else { return false }
            var separators = 0
            var kind = 0..<0
            var last = 0
            for index in bytes.indices where bytes[index] == Key.separator {
                separators += 1
                last = index + 1
                if separators == 2 { kind = index + 1..<index + 1 }
                if separators == 3 { kind = kind.lowerBound..<index }
            }
            guard separators >= 3 else { return false }
            let name = bytes.extracting(kind)
            switch separators {
            case 3:
                return isEqual(name, "task") || isEqual(name, "board") || isEqual(name, "log")
                    || isEqual(name, "member")
            case 4:
                return isEqual(name, "inbox") || isEqual(name, "agent")
                    || isEqual(name, "task") && isPart(bytes.extracting(last..<bytes.count))
            default: return false
            }
        }
    }

    /// Whether nobody claims a key: those that only calls write, and the settings of a swarm, which anybody else may write.
    package static func isNeverClaimed(_ key: Key) -> Bool {
        if isGuarded(key) { return true }
        guard case .config? = SwarmKey(key) else { return false }
        return true
    }

    private static func isPart(_ name: Span<UInt8>) -> Bool {
        isEqual(name, "claim") || isEqual(name, "input") || isEqual(name, "result") || isEqual(name, "progress")
    }

    private static func isEqual(_ bytes: Span<UInt8>, _ text: StaticString) -> Bool {
        text.withUTF8Buffer { ByteOrder.areEqual(bytes, $0.span) }
    }

    /// Whether a task's names are short enough for all its keys.
    package static func fits(_ swarm: Segment, task: Segment) -> Bool {
        (try? SwarmKey.progress(swarm, task: task).key()) != nil
    }

    /// The keys of a swarm's tasks, and what belongs to them, begin with this.
    package static func tasksPrefix(_ swarm: Segment) -> [UInt8] {
        prefix + swarm.escaped + Array(":task:".utf8)
    }

    /// The keys of what says that agents of a swarm are there begin with this.
    package static func presencesPrefix(_ swarm: Segment) -> [UInt8] {
        prefix + swarm.escaped + Array(":agent:".utf8)
    }

    /// The pattern of the messages in an agent's inbox.
    package static func inboxPattern(_ swarm: Segment, agent: Segment) -> [UInt8] {
        Pattern.escaping(prefix + swarm.escaped + Array(":inbox:".utf8) + agent.escaped) + Array(":*".utf8)
    }

    /// The pattern of the messages to all.
    package static func boardPattern(_ swarm: Segment) -> [UInt8] {
        Pattern.escaping(prefix + swarm.escaped) + Array(":board:*".utf8)
    }

    /// `task:<id>:status`, where readers who know tasks by their ids alone look.
    package static func mirror(of task: Segment) throws(TextError) -> Key {
        let bytes = Array("task:".utf8) + task.escaped + Array(":status".utf8)
        try Key.validate(bytes.span)
        return Key(unchecked: bytes)
    }
}
