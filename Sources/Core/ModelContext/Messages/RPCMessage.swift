import Agents
package import SyncProtocol

/// The id of a request: a string or an integer, as it was written.
package struct RPCID: Hashable, Sendable {
    /// The longest one, in bytes of JSON.
    static let maximumSize = 1_024

    package let json: [UInt8]

    /// - Returns: nil where it is none: null, a fraction, or something else.
    package init?(json: [UInt8]) {
        guard 1...Self.maximumSize ~= json.count else { return nil }
        if json[0] == UInt8(ascii: "\"") {
            guard JSONObject.string(json) != nil else { return nil }
        } else {
            let digits = json[0] == UInt8(ascii: "-") ? json.dropFirst() : json[...]
            guard !digits.isEmpty, digits.allSatisfy({ 0x30...0x39 ~= $0 }) else { return nil }
        }
        self.json = json
    }
}

/// A request of JSON-RPC.
package struct RPCRequest: Sendable {
    package let id: RPCID
    package let method: String
    package let parameters: JSONObject

    /// `_meta`, where there is one.
    package var metadata: JSONObject? { parameters.object("_meta") }
    /// What the requester wants to be told of the progress by: its JSON.
    package var progressToken: [UInt8]? {
        metadata?.raw("progressToken").flatMap { RPCID(json: $0)?.json }
    }
}

/// A message of JSON-RPC from a client.
package enum RPCMessage: Sendable {
    case request(RPCRequest)
    case notification(method: String, parameters: JSONObject)
    /// To a request of ours, and we make none.
    case response

    /// What is wrong with a message, and with which.
    package struct Problem: Error, Sendable {
        package var error: RPCError
        /// nil where it could not be read.
        package var id: RPCID?
    }

    /// Reads a message.
    ///
    /// - Throws: ``Problem``: `-32700` where it is no JSON, `-32600` where it is no message, or several.
    package init(_ text: [UInt8]) throws(Problem) {
        guard String(validating: text, as: UTF8.self) != nil else {
            throw Problem(error: RPCError(.parse, "the message is no UTF-8"))
        }
        let object: JSONObject
        do throws(JSONError) {
            object = try JSONObject(text)
        } catch {
            throw Self.problem(of: text, error)
        }
        let id = object.raw("id").flatMap { RPCID(json: $0) }
        func invalid(_ reason: String) -> Problem { Problem(error: RPCError(.invalidRequest, reason), id: id) }
        guard Self.hasNoDuplicates(object) else { throw invalid("the message has a member twice") }
        guard object.string("jsonrpc") == "2.0" else { throw invalid("\"jsonrpc\" is not \"2.0\"") }
        guard object.raw("method") != nil else {
            guard object.raw("result") != nil || object.raw("error") != nil else {
                throw invalid("the message has no \"method\"")
            }
            self = .response
            return
        }
        guard let method = object.string("method") else { throw invalid("\"method\" is no string") }
        let hasID = object.raw("id") != nil
        if hasID, id == nil { throw invalid("\"id\" is a string or an integer, of 1,024 bytes at most, and not null") }
        let parameters = try Self.parameters(of: object, id)
        if let id {
            self = .request(RPCRequest(id: id, method: method, parameters: parameters))
        } else {
            self = .notification(method: method, parameters: parameters)
        }
    }

    private static func problem(of text: [UInt8], _ error: JSONError) -> Problem {
        if JSONObject.elements(of: text) != nil {
            return Problem(error: RPCError(.invalidRequest, "a message is one object; batches are not taken"))
        }
        if case .notAnObject = error.problem, JSONTree.isValue(text) {
            return Problem(error: RPCError(.invalidRequest, "a message is an object"))
        }
        return Problem(error: RPCError(.parse, "the message is no JSON: \(error)"))
    }

    private static func parameters(of object: JSONObject, _ id: RPCID?) throws(Problem) -> JSONObject {
        guard let text = object.raw("params") else { return JSONObject() }
        guard let parameters = try? JSONObject(text) else {
            throw Problem(error: RPCError(.invalidParameters, "\"params\" is no object"), id: id)
        }
        let metadata = parameters.object("_meta")
        guard hasNoDuplicates(parameters), metadata.map(hasNoDuplicates) ?? true else {
            throw Problem(error: RPCError(.invalidRequest, "\"params\" has a member twice"), id: id)
        }
        return parameters
    }

    /// Of two members with a name this reads one, and somebody in between the other.
    private static func hasNoDuplicates(_ object: JSONObject) -> Bool {
        Set(object.members.map(\.name)).count == object.members.count
    }
}
