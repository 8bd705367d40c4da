import NIOCore
import Registers
import SyncProtocol

extension SyncMessage {
    /// Adds what was given as it was given; nil adds nothing.
    mutating func add(_ name: String, given json: [UInt8]?) throws(ToolFailure) {
        guard let json else { return }
        do throws(WireError) {
            try add(name, json: ByteBuffer(bytes: json))
        } catch {
            throw ToolFailure(Refusal(error))
        }
    }

    /// Adds some arguments under their own names.
    mutating func add(_ names: [String], of arguments: ToolArguments) throws(ToolFailure) {
        for name in names { try add(name, given: arguments.raw(name)) }
    }
}

/// Keys and patterns made of names.
enum SwarmPattern {
    static func segment(_ name: String) throws(ToolFailure) -> Segment {
        do throws(TextError) {
            return try Segment(name)
        } catch {
            throw .argument(error.description)
        }
    }

    /// The pattern of a swarm's keys that end in something.
    static func of(_ swarm: String, _ rest: String) throws(ToolFailure) -> String {
        "swarm:" + literal(String(decoding: try segment(swarm).escaped, as: UTF8.self)) + ":" + rest
    }

    static func inbox(_ swarm: String, _ agent: String) throws(ToolFailure) -> String {
        try of(swarm, "inbox:" + literal(String(decoding: try segment(agent).escaped, as: UTF8.self)) + ":*")
    }

    static func task(_ swarm: String, _ task: String) throws(ToolFailure) -> String {
        let names = (try segment(swarm).escaped, try segment(task).escaped)
        return "swarm:" + String(decoding: names.0, as: UTF8.self) + ":task:" + String(decoding: names.1, as: UTF8.self)
    }

    /// A text that a pattern takes for what it is.
    static func literal(_ text: String) -> String {
        String(decoding: Pattern.escaping(Array(text.utf8)), as: UTF8.self)
    }
}
