import Registers

/// What a URI of ours names: `starling://<kind>/…`, each name in it percent-encoded.
package enum ResourceURI: Equatable, Sendable {
    package enum View: String, CaseIterable, Sendable {
        case status, ready, blocked
    }

    /// A key; the rest of the URI.
    case key(String)
    /// What matches a pattern that stands where a key could: `starling://keys/task:*`. It is told of key by key.
    case keys(pattern: String)
    /// What matches a pattern, as one list.
    case pattern(String)
    case memory(agent: String, key: String)
    case knowledge(String)
    case swarm(String, View)
    case task(swarm: String, task: String)
    case inbox(swarm: String, agent: String)

    package static let scheme = "starling://"
    /// The longest one, in bytes.
    package static let maximumSize = 4_096

    /// - Returns: nil where it names nothing of ours.
    package init?(_ uri: String) {
        guard uri.hasPrefix(Self.scheme), uri.utf8.count <= Self.maximumSize else { return nil }
        let rest = uri.dropFirst(Self.scheme.count)
        let parts = rest.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 2 else { return nil }
        let tail = rest.dropFirst(parts[0].count + 1)
        switch (parts[0], parts.count) {
        case ("keys", _):
            guard let resource = Self.keys(tail) else { return nil }
            self = resource
        case ("patterns", _):
            guard let pattern = URIText.decode(tail), (try? Pattern(pattern)) != nil else { return nil }
            self = .pattern(pattern)
        case ("memory", 3...):
            guard let agent = URIText.decode(parts[1]), !agent.isEmpty,
                let key = URIText.decode(tail.dropFirst(parts[1].count + 1)), !key.isEmpty
            else { return nil }
            self = .memory(agent: agent, key: key)
        case ("knowledge", 2):
            guard let id = URIText.decode(parts[1]), !id.isEmpty else { return nil }
            self = .knowledge(id)
        case ("swarms", 3):
            guard let swarm = URIText.decode(parts[1]), !swarm.isEmpty, let view = View(rawValue: String(parts[2]))
            else { return nil }
            self = .swarm(swarm, view)
        case ("swarms", 4):
            guard let swarm = URIText.decode(parts[1]), let name = URIText.decode(parts[3]), !swarm.isEmpty,
                !name.isEmpty
            else { return nil }
            switch parts[2] {
            case "tasks": self = .task(swarm: swarm, task: name)
            case "inbox": self = .inbox(swarm: swarm, agent: name)
            default: return nil
            }
        default: return nil
        }
    }

    /// A wildcard is one where it stands as it is; one that is percent-encoded is a character of the key.
    private static func keys(_ text: Substring) -> ResourceURI? {
        guard let key = URIText.decode(text), !key.isEmpty else { return nil }
        guard text.utf8.contains(where: { $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "?") }) else {
            return (try? Key(key)) == nil ? nil : .key(key)
        }
        var pattern = ""
        for run in URIText.runs(text) {
            guard let part = URIText.decode(run.text) else { return nil }
            pattern += run.isWildcards ? part : SwarmPattern.literal(part)
        }
        return (try? Pattern(pattern)) == nil ? nil : .keys(pattern: pattern)
    }

    /// The URI of a key.
    package static func of(key: String) -> String { scheme + "keys/" + URIText.encode(key) }

    /// The URI of a memory's register, of one of a message's, and so on: as the resource that lists have it under.
    static func memory(agent: String, key: String) -> String {
        scheme + "memory/" + URIText.encode(agent, keeping: "") + "/" + URIText.encode(key)
    }

    static func swarm(_ swarm: String, _ rest: String) -> String {
        scheme + "swarms/" + URIText.encode(swarm, keeping: "") + "/" + rest
    }

    static func inbox(swarm: String, agent: String) -> String {
        Self.swarm(swarm, "inbox/" + URIText.encode(agent, keeping: ""))
    }
}

/// Percent-encoding in URIs (RFC 3986, section 2.1).
package enum URIText {
    /// - Returns: nil where it stands for no text.
    package static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(hexValue), let low = rest.popFirst().flatMap(hexValue) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x37
        case 0x61...0x66: byte - 0x57
        default: nil
        }
    }

    /// - Parameter kept: what stands as it is beside letters, digits and `-._~`.
    package static func encode(_ text: String, keeping kept: String = "/:@!$&'()+,;=") -> String {
        text.utf8.reduce(into: "") { encoded, byte in
            let isPlain =
                0x30...0x39 ~= byte || 0x41...0x5A ~= byte || 0x61...0x7A ~= byte || "-._~".utf8.contains(byte)
                || kept.utf8.contains(byte)
            if isPlain {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                encoded += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }

    /// Wildcards that stand as they are, and what is between them.
    static func runs(_ text: Substring) -> [(text: Substring, isWildcards: Bool)] {
        var runs: [(Substring, Bool)] = []
        var rest = text
        while let first = rest.first {
            let isWildcard = first == "*" || first == "?"
            let run = rest.prefix { ($0 == "*" || $0 == "?") == isWildcard }
            runs.append((run, isWildcard))
            rest = rest.dropFirst(run.count)
        }
        return runs
    }
}
