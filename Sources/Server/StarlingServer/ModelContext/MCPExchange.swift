import HTTPTypes
import Hummingbird
import ModelContext
import NIOCore
import SyncProtocol

/// How a client wants to be answered.
struct MCPAccept: Sendable {
    let json: Bool
    let stream: Bool

    /// - Throws: ``Problem`` 406 where it takes neither.
    init(_ request: Request) throws(Problem) {
        let ranges = request.headers[values: .accept].flatMap { $0.split(separator: ",") }.map { range in
            range.prefix { $0 != ";" }.filter { !$0.isWhitespace }.lowercased()
        }
        // Who says nothing takes anything.
        let takesAll = ranges.isEmpty || ranges.contains("*/*")
        json = takesAll || ranges.contains("application/json") || ranges.contains("application/*")
        stream = takesAll || ranges.contains("text/event-stream") || ranges.contains("text/*")
        guard json || stream else {
            throw Problem(
                .notAcceptable, "not_acceptable",
                "answers are application/json or text/event-stream; Accept has neither")
        }
    }
}

/// Why a request by MCP gets no result.
enum MCPFailure: Error {
    /// Of HTTP, or of who asks.
    case problem(Problem)
    /// - Parameters:
    ///   - id: of the request; nil: it could not be read.
    ///   - status: over HTTP.
    case error(RPCError, RPCID?, status: Int)
}

/// Responses with messages of JSON-RPC.
enum MCPResponse {
    static let streamHeaders: HTTPFields = [
        .contentType: "text/event-stream", .cacheControl: "no-cache", .accelBuffering: "no",
    ]

    static func json(_ message: [UInt8], status: Int = 200) -> Response {
        Response(
            status: .init(code: status), headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: message)))
    }

    /// A message as an event.
    static func event(_ message: [UInt8], id: UInt64? = nil) -> ByteBuffer {
        var event = ByteBuffer(string: "event: message\n")
        if let id { event.writeString("id: \(id)\n") }
        event.writeString("data: ")
        // Line breaks between tokens would be those of events.
        event.writeBytes(message.filter { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") })
        event.writeString("\n\n")
        return event
    }

    /// What says that there is somebody, where there is nothing to say.
    static let comment = ByteBuffer(string: ":\n\n")
}

extension HTTPField.Name {
    static let mcpSession = HTTPField.Name("Mcp-Session-Id")!
    static let mcpVersion = HTTPField.Name("MCP-Protocol-Version")!
    static let mcpMethod = HTTPField.Name("Mcp-Method")!
    static let mcpName = HTTPField.Name("Mcp-Name")!
    /// What nginx is told by, not to hold a stream back.
    static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}
