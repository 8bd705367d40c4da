import Agents
import SyncProtocol

/// An error of JSON-RPC 2.0, with the codes of MCP.
package struct RPCError: Error, Equatable, Sendable {
    package enum Code: Int, Sendable {
        case parse = -32700
        case invalidRequest = -32600
        case methodNotFound = -32601
        case invalidParameters = -32602
        case internalError = -32603
        /// A resource that there is not, before 2026-07-28.
        case resourceNotFound = -32002
        /// HTTP headers say something else than the body.
        case headerMismatch = -32020
        case unsupportedVersion = -32022
    }

    package var code: Code
    package var message: String
    /// JSON.
    package var data: [UInt8]?

    package init(_ code: Code, _ message: String, data: [UInt8]? = nil) {
        self.code = code
        self.message = message
        self.data = data
    }

    static func unsupported(_ requested: String) -> RPCError {
        var data = JSONWriter()
        data.add("supported", raw: ProtocolVersion.json)
        data.add("requested", requested)
        return RPCError(.unsupportedVersion, "Unsupported protocol version", data: data.finish())
    }

    /// What is answered with the refusal of a request that is no call of a tool.
    package init(_ failure: ToolFailure) {
        self.init(failure.isRequestsFault ? .invalidParameters : .internalError, failure.sentence, data: failure.json)
    }

    /// What a resource is said to be that there is not.
    static func noResource(_ uri: String, _ version: ProtocolVersion) -> RPCError {
        var data = JSONWriter()
        data.add("uri", uri)
        return RPCError(
            version.isModern ? .invalidParameters : .resourceNotFound, "there is no resource \(uri)",
            data: data.finish())
    }

    /// Its status over HTTP, for a request by a version that carries it with it.
    package var status: Int {
        switch code {
        case .parse, .invalidRequest, .invalidParameters, .headerMismatch, .unsupportedVersion: 400
        case .methodNotFound, .resourceNotFound: 404
        case .internalError: 200
        }
    }

    /// The whole message.
    ///
    /// - Parameter id: of the request; nil: it could not be read.
    package func message(to id: RPCID?) -> [UInt8] {
        var error = JSONWriter()
        error.add("code", number: code.rawValue)
        error.add("message", message)
        if let data { error.add("data", raw: data) }
        var object = JSONWriter()
        object.add("jsonrpc", "2.0")
        object.add("id", raw: id?.json ?? Array("null".utf8))
        object.add("error", raw: error.finish())
        return object.finish()
    }
}
