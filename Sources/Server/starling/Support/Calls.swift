import Registers
import SyncClient
import SyncProtocol

/// Calls for the commands.
extension ClientOptions {
    /// Makes one call, and gives its answer.
    ///
    /// - Parameter fields: its members as JSON, such as `"wait":30`.
    func call(_ name: Call.Name, _ swarm: String, _ fields: [String] = []) async throws -> JSONObject {
        try await connect { connection, replies in
            try await connection.call(name, swarm, fields, &replies)
        }
    }

    /// Prints an answer: as it is, or by `body`.
    func show(_ answer: JSONObject, _ body: (JSONObject) -> Void) {
        if json { Output.line(answer.line) } else { body(answer) }
    }
}

extension SyncConnection {
    /// Makes one call, and waits for its answer.
    func call(
        _ name: Call.Name, _ swarm: String, _ fields: [String], id: String = "c", _ replies: inout Replies
    ) async throws -> JSONObject {
        try await send(call: name, swarm, fields, id: id)
        return try await replies.answer(to: id)
    }

    func send(call name: Call.Name, _ swarm: String, _ fields: [String], id: String) async throws {
        let members = [
            #""type":"\#(name.rawValue)""#, #""id":\#(JSON.quote(id))"#, #""swarm":\#(JSON.quote(swarm))"#,
        ]
        try await send("{\((members + fields).joined(separator: ","))}")
    }
}

extension JSON {
    /// A member with a text, where there is one.
    static func member(_ name: String, _ text: String?) -> [String] {
        text.map { [#""\#(name)":\#(quote($0))"#] } ?? []
    }

    static func member(_ name: String, number: (some Numeric & CustomStringConvertible)?) -> [String] {
        number.map { [#""\#(name)":\#($0)"#] } ?? []
    }

    static func member(_ name: String, _ texts: [String]) -> [String] {
        texts.isEmpty ? [] : [#""\#(name)":[\#(texts.map(quote).joined(separator: ","))]"#]
    }
}

/// The keys of a swarm, for the commands.
enum SwarmNames {
    /// A name as it stands in a key.
    static func escaped(_ name: String) throws -> String {
        do throws(TextError) {
            return String(decoding: try Segment(name).escaped, as: UTF8.self)
        } catch {
            throw UsageError(error.description)
        }
    }

    /// A pattern over keys of a swarm: `rest` is a pattern itself.
    static func pattern(_ swarm: String, _ rest: String) throws -> String {
        let name = String(decoding: Pattern.escaping(Array(try escaped(swarm).utf8)), as: UTF8.self)
        return "swarm:\(name):\(rest)"
    }
}
