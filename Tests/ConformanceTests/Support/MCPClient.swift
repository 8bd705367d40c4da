import SyncProtocol
import Testing

/// A client of `/mcp`, by whatever version, right or wrong.
final class MCPClient {
    static let modernVersion = "2026-07-28"
    private static let prefix = "io.modelcontextprotocol/"

    let rest: RESTClient
    private(set) var session: String?
    private var version: String?
    private var lastID = 0

    init(_ server: ServerProcess, token: String? = nil) throws {
        rest = try RESTClient(server, token: token)
    }

    /// A client that has begun a session.
    static func begun(
        _ server: ServerProcess, token: String? = nil, version: String = "2025-11-25", path: String = "/mcp",
        headers: [String: String] = [:]
    ) throws -> MCPClient {
        let client = try MCPClient(server, token: token)
        let body =
            #"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"\#(version)","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#
        let answer = try client.rest.ask("POST", path, body, MCPClient.headers.merging(headers) { $1 })
        client.session = try #require(answer.headers["mcp-session-id"], "\(answer)")
        client.version = try #require(answer.json.object("result")?.string("protocolVersion"))
        let initialized = try client.rest.ask(
            "POST", "/mcp", #"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, client.sessionHeaders)
        #expect(initialized.status == 202 && initialized.body.isEmpty)
        return client
    }

    static let headers = ["Content-Type": "application/json", "Accept": "application/json, text/event-stream"]

    var sessionHeaders: [String: String] {
        var headers = Self.headers
        headers["Mcp-Session-Id"] = session
        headers["MCP-Protocol-Version"] = version
        return headers
    }

    /// The body and the headers of a request without a session.
    static func modern(
        _ method: String, _ parameters: String = "", id: String = "1", token: String? = nil
    ) -> (body: String, headers: [String: String]) {
        let progress = token.map { #","progressToken":\#($0)"# } ?? ""
        let metadata =
            #""_meta":{"\#(prefix)protocolVersion":"\#(modernVersion)","\#(prefix)clientCapabilities":{},"\#(prefix)clientInfo":{"name":"test","version":"1"}\#(progress)}"#
        let body =
            #"{"jsonrpc":"2.0","id":\#(id),"method":"\#(method)","params":{\#(metadata)\#(parameters.isEmpty ? "" : ",")\#(parameters)}}"#
        var headers = Self.headers
        headers["MCP-Protocol-Version"] = modernVersion
        headers["Mcp-Method"] = method
        let member = method == "resources/read" ? "uri" : "name"
        if ["tools/call", "prompts/get", "resources/read"].contains(method) {
            headers["Mcp-Name"] = (try? JSONObject(Array("{\(parameters)}".utf8)))?.string(member)
        }
        return (body, headers)
    }

    /// Sends a request, by the session where there is one.
    func send(_ method: String, _ parameters: String = "", id: String = "1", token: String? = nil) throws {
        if session == nil {
            let (body, headers) = Self.modern(method, parameters, id: id, token: token)
            return try rest.send("POST", "/mcp", body, headers)
        }
        let metadata = token.map { #""_meta":{"progressToken":\#($0)}\#(parameters.isEmpty ? "" : ",")"# } ?? ""
        try rest.send(
            "POST", "/mcp",
            #"{"jsonrpc":"2.0","id":\#(id),"method":"\#(method)","params":{\#(metadata)\#(parameters)}}"#,
            sessionHeaders)
    }

    func ask(_ method: String, _ parameters: String = "") throws -> RESTClient.Answer {
        lastID += 1
        try send(method, parameters, id: "\(lastID)")
        return try rest.answer()
    }

    /// Calls a tool.
    ///
    /// - Returns: the content, as an object, and whether it is an error.
    func call(_ tool: String, _ arguments: String = "{}") throws -> (content: JSONObject, isError: Bool) {
        let answer = try ask("tools/call", #""name":"\#(tool)","arguments":\#(arguments)"#)
        let result = try #require(answer.json.object("result"), "\(tool) \(arguments): \(answer)")
        let text = try JSONObject(try #require(result.array("content")?.first)).string("text") ?? ""
        return (try JSONObject(Array(text.utf8)), result.bool("isError") == true)
    }

    /// The code of the error that a tool answers with; nil: it is none.
    func problem(_ tool: String, _ arguments: String) throws -> String? {
        let (content, isError) = try call(tool, arguments)
        return isError ? content.object("error")?.string("code") : nil
    }
}
