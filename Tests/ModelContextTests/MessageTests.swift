import SyncProtocol
import Testing

@testable import ModelContext

/// What is a message, what a request says of itself, and what headers say of it.
struct MessageTests {
    private func problem(_ text: String) -> RPCMessage.Problem? {
        problem(Array(text.utf8))
    }

    private func problem(_ text: [UInt8]) -> RPCMessage.Problem? {
        do throws(RPCMessage.Problem) {
            _ = try RPCMessage(text)
            return nil
        } catch {
            return error
        }
    }

    @Test("Ids are strings and integers; everything else is refused, with the id where it could be read")
    func ids() throws {
        for id in ["1", "-7", "0", #""a""#, #""""#, #""\u00e9\n""#, "123456789012345678901234567890"] {
            guard
                case .request(let request) = try RPCMessage(Array(#"{"jsonrpc":"2.0","id":\#(id),"method":"m"}"#.utf8))
            else { throw RPCError(.parse, id) }
            #expect(request.id.json == Array(id.utf8))
        }
        for id in ["null", "1.5", "1e3", "true", "[]", "{}", "\"\(String(repeating: "x", count: 1_100))\""] {
            let found = try #require(self.problem(#"{"jsonrpc":"2.0","id":\#(id),"method":"m"}"#), "\(id)")
            #expect(found.error.code == .invalidRequest && found.id == nil, "\(id)")
        }
        let known = problem(#"{"jsonrpc":"1.0","id":7,"method":"m"}"#)
        #expect(
            known?.error.code == .invalidRequest && known?.id?.json == Array("7".utf8), "-http-server-error-jsonrpc-id")
        #expect(problem(#"{"jsonrpc":"2.0","id":7,"method":1}"#)?.id?.json == Array("7".utf8))
        #expect(problem(#"{"jsonrpc":"2.0","id":7,"method":"m","params":[]}"#)?.error.code == .invalidParameters)
        for twice in [
            #"{"jsonrpc":"2.0","id":7,"id":8,"method":"m"}"#,
            #"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1,"a":2}}"#,
            #"{"jsonrpc":"2.0","id":7,"method":"m","params":{"_meta":{"a":1,"a":2}}}"#,
        ] { #expect(problem(twice)?.error.code == .invalidRequest, "\(twice)") }
    }

    @Test("What is no JSON is a parse error; what is JSON and no message, and a batch, is an invalid request")
    func shapes() throws {
        for text in ["", "x", "{", #"{"a":}"#, "\u{FEFF}{}"] { #expect(problem(text)?.error.code == .parse, "\(text)") }
        #expect(problem([0x7B, 0xFF, 0x7D])?.error.code == .parse)
        for text in ["1", "null", #""x""#, "[]", #"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "{}"] {
            #expect(problem(text)?.error.code == .invalidRequest, "\(text)")
        }
        guard case .response = try RPCMessage(Array(#"{"jsonrpc":"2.0","id":1,"result":{}}"#.utf8)) else {
            throw RPCError(.parse, "")
        }
        guard case .notification = try RPCMessage(Array(#"{"jsonrpc":"2.0","method":"notifications/x"}"#.utf8)) else {
            throw RPCError(.parse, "")
        }
    }

    // MARK: The envelope

    private static let version = "io.modelcontextprotocol/protocolVersion"
    private static let capabilities = "io.modelcontextprotocol/clientCapabilities"

    private func envelope(
        _ metadata: String?, method: String = "tools/call", name: String? = "search", _ headers: RoutingHeaders?
    ) -> RPCError? {
        let members = [metadata.map { #""_meta":\#($0)"# }, name.map { #""name":"\#($0)""# }].compactMap { $0 }
        let text = #"{"jsonrpc":"2.0","id":1,"method":"\#(method)","params":{\#(members.joined(separator: ","))}}"#
        guard case .request(let request)? = try? RPCMessage(Array(text.utf8)) else { return RPCError(.parse, text) }
        do throws(RPCError) {
            _ = try ModernEnvelope(request, headers)
            return nil
        } catch {
            return error
        }
    }

    private func metadata(_ version: String, _ capabilities: String = "{}") -> String {
        #"{"\#(Self.version)":\#(version),"\#(Self.capabilities)":\#(capabilities)}"#
    }

    private func headers(
        _ version: [String] = ["2026-07-28"], _ method: [String] = ["tools/call"], _ name: [String] = ["search"]
    ) -> RoutingHeaders { RoutingHeaders(version: version, method: method, name: name) }

    @Test(
        "sep-2575-http-server-meta-invalid-400, -http-server-header-mismatch-400, -server-unsupported-version-error: in that order"
    )
    func ladder() {
        let good = metadata(#""2026-07-28""#)
        #expect(envelope(good, headers()) == nil && envelope(good, nil) == nil)
        for bad in [nil, "{}", "1", #"{"\#(Self.version)":"2026-07-28"}"#, #"{"\#(Self.capabilities)":{}}"#] {
            // Also where the headers are wrong.
            for headers in [headers(), headers([], [], [])] {
                let error = envelope(bad, headers)
                #expect(error?.code == .invalidParameters && error?.status == 400, "\(bad ?? "")")
            }
        }
        for wrong in [
            headers([]), headers(["2025-11-25"]), headers(["2026-07-28", "2026-07-28"]), headers(["2026-07-28"], []),
            headers(["2026-07-28"], ["tools/list"]), headers(["2026-07-28"], ["TOOLS/CALL"]),
            headers(["2026-07-28"], ["tools/call"], []), headers(["2026-07-28"], ["tools/call"], ["Search"]),
            headers(["2026-07-28"], ["tools/call"], ["search", "search"]),
        ] {
            let error = envelope(good, wrong)
            #expect(error?.code == .headerMismatch && error?.status == 400, "\(wrong)")
        }
        let unknown = envelope(metadata(#""2030-01-01""#), headers(["2030-01-01"]))
        #expect(unknown?.code == .unsupportedVersion && unknown?.status == 400)
        #expect(unknown?.data.map { String(decoding: $0, as: UTF8.self) }?.contains("2026-07-28") == true)
        #expect(envelope(metadata(#""2030-01-01""#), headers())?.code == .headerMismatch, "first the headers")
        #expect(envelope(metadata("7"), nil)?.code == .invalidParameters)
        #expect(envelope(metadata(#""2026-07-28""#, "[]"), headers())?.code == .invalidParameters)
        // -request-meta-client-info-optional: there was none in any of these.
        #expect(envelope(good, method: "tools/list", name: nil, headers(["2026-07-28"], ["tools/list"], [])) == nil)
    }

    @Test("Headers carry any text, and what stands for none is equal to none")
    func headerText() {
        for text in [
            "search", "a b", " a", "a ", "ä", "日本", "", "=?base64?YQ==?=", "a\nb", String(repeating: "é", count: 100),
        ] {
            let encoded = HeaderText.encode(text)
            #expect(encoded.utf8.allSatisfy { 0x20...0x7E ~= $0 } && HeaderText.decode(encoded) == text, "\(text)")
        }
        #expect(HeaderText.encode("search") == "search" && HeaderText.encode("ä") == "=?base64?w6Q=?=")
        for bad in ["=?base64?w6?=", "=?base64?////?=", "=?base64?YQ=a?=", "=?base64?YR==?=", "=?base64?Y===?="] {
            #expect(HeaderText.decode(bad) == nil, "\(bad)")
        }
        let unicode = metadata(#""2026-07-28""#)
        #expect(envelope(unicode, name: "ä", headers(["2026-07-28"], ["tools/call"], ["=?base64?w6Q=?="])) == nil)
        #expect(envelope(unicode, name: "ä", headers(["2026-07-28"], ["tools/call"], ["=?base64?w6Q?="])) != nil)
    }

    @Test("Events are read in whatever pieces they come")
    func events() {
        let text = "id: 1\nevent: message\ndata: {\"a\":\ndata: 1}\n\n:\n\nid:2\r\ndata:x\r\n\r\ndata: y\r\r"
        let expected: [ServerSentEvents.Event] = [
            .init(id: "1", data: Array("{\"a\":\n1}".utf8)), .init(id: "2", data: Array("x".utf8)),
            .init(id: "2", data: Array("y".utf8)),
        ]
        for piece in 1...text.utf8.count {
            var reader = ServerSentEvents()
            var events: [ServerSentEvents.Event] = []
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                events += reader.take(rest.prefix(piece)) ?? []
                rest = rest.dropFirst(piece)
            }
            #expect(events == expected, "pieces of \(piece)")
        }
    }

    @Test("Who is in between reads of a message what it needs, and answers for a server that is not there")
    func forwarded() throws {
        let call = ForwardedMessage(
            Array(
                #"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"ä","_meta":{"\#(Self.version)":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c"}}}}"#
                    .utf8))
        #expect(call.isModern && call.client == "c")
        #expect(call.headers.map(\.value) == ["2026-07-28", "tools/call", "=?base64?w6Q=?="])
        let failure = try JSONObject(try #require(call.failure("no server")))
        #expect(failure.string("id") == "x" && failure.object("error")?.integer("code") == -32_603)
        let cancelled = ForwardedMessage(
            Array(#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#.utf8))
        guard case .cancelled(let id) = cancelled.kind else { throw RPCError(.parse, "") }
        #expect(id.json == Array("7".utf8) && cancelled.failure("x") == nil)
        for text in ["", "[]", "{", #"{"id":1}"#] {
            guard case .other = ForwardedMessage(Array(text.utf8)).kind else { throw RPCError(.parse, text) }
        }
    }
}
