package import Registers

/// The layout of what agents remember: `memory:<agent>:<name>`. The agent is escaped as a ``Segment`` is; the name is not, since it is a path that
/// may have segments of its own.
package struct MemoryKey: Equatable, Sendable {
    package var agent: Segment
    package var name: [UInt8]

    package static let prefix = Array("memory:".utf8)

    package init(agent: Segment, name: [UInt8]) {
        self.agent = agent
        self.name = name
    }

    /// Reads a key.
    ///
    /// - Returns: nil where it is no memory's, or has an agent that no name gives.
    package init?(_ key: Key) {
        let bytes = key.bytes
        guard bytes.starts(with: Self.prefix) else { return nil }
        let rest = bytes.dropFirst(Self.prefix.count)
        guard let end = rest.firstIndex(of: Key.separator), end + 1 < rest.endIndex,
            let agent = Segment(escaped: rest[..<end])
        else { return nil }
        self.init(agent: agent, name: Array(rest[(end + 1)...]))
    }

    /// The key of the register that it is.
    ///
    /// What `system` and `orchestrator` remember of tasks, their breakdown and progress, and of the settings of swarms, is the register that is so
    /// called itself: what one stores by the one name, another reads by the other.
    ///
    /// - Throws: ``TextError`` where it is empty or too long for a key.
    package func key() throws(TextError) -> Key {
        let bytes = isShared ? name : Self.prefix + agent.escaped + [Key.separator] + name
        if name.isEmpty { try Key.validate(name.span) }
        try Key.validate(bytes.span)
        return Key(unchecked: bytes)
    }

    private static let sharers = ["system", "orchestrator"].map { Array($0.utf8) }

    /// Whether it is a register of another name.
    package var isShared: Bool {
        guard Self.sharers.contains(agent.bytes) else { return false }
        let parts = name.split(separator: Key.separator, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[1].isEmpty else { return false }
        return switch (String(decoding: parts[0], as: UTF8.self), String(decoding: parts[2], as: UTF8.self)) {
        case ("task", "status"), ("task", "breakdown"), ("execution", "progress"), ("swarm", "config"): true
        default: false
        }
    }

    /// The pattern of what an agent remembers under names that begin with some bytes.
    package static func pattern(agent: Segment, prefix: [UInt8]) throws(PatternError) -> Pattern {
        try Pattern(Pattern.escaping(Self.prefix + agent.escaped + [Key.separator] + prefix) + [UInt8(ascii: "*")])
    }
}
