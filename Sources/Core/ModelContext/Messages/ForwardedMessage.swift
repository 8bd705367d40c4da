import Agents
import SyncProtocol

/// A message that somebody in between passes on from standard input to HTTP, as far as it has to be known for that.
package struct ForwardedMessage: Sendable {
    package enum Kind: Sendable {
        /// A wish for a session.
        case initialize
        case request
        /// A client has no use for the answer to a request any more.
        case cancelled(RPCID)
        case notification
        /// What is no message the server says so.
        case other
    }

    package let kind: Kind
    /// Of a request; nil: it has none, or none that can be read.
    package let id: RPCID?
    package let method: String?
    /// The version that it says itself that it is by.
    package let version: String?
    /// What the client calls itself, where it says so.
    package let client: String?
    private let name: String?

    package init(_ text: [UInt8]) {
        let object = try? JSONObject(text)
        let parameters = object?.object("params")
        let metadata = parameters?.object("_meta")
        id = object?.raw("id").flatMap { RPCID(json: $0) }
        method = object?.string("method")
        version = metadata?.string(ModernEnvelope.versionKey)
        client =
            metadata?.object(ModernEnvelope.clientKey)?.string("name")
            ?? parameters?.object("clientInfo")?.string("name")
        switch method {
        case "tools/call", "prompts/get": name = parameters?.string("name")
        case "resources/read": name = parameters?.string("uri")
        default: name = nil
        }
        switch (method, id) {
        case ("initialize", _?): kind = .initialize
        case (_?, _?): kind = .request
        case ("notifications/cancelled", nil):
            kind = parameters?.raw("requestId").flatMap { RPCID(json: $0) }.map { .cancelled($0) } ?? .notification
        case (_?, nil): kind = .notification
        case (nil, _): kind = .other
        }
    }

    /// Whether it is by a version without sessions.
    package var isModern: Bool { version != nil }

    /// The headers that say what it is.
    package var headers: [(name: String, value: String)] {
        guard let version, let method else { return [] }
        return [("MCP-Protocol-Version", HeaderText.encode(version)), ("Mcp-Method", HeaderText.encode(method))]
            + (name.map { [("Mcp-Name", HeaderText.encode($0))] } ?? [])
    }

    /// What is answered to it by who cannot pass it on.
    ///
    /// - Parameter reason: a sentence.
    package func failure(_ reason: String) -> [UInt8]? {
        guard let id else { return nil }
        return RPCError(.internalError, reason).message(to: id)
    }
}
