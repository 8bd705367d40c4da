import SyncProtocol
import Testing

@testable import ModelContext

/// What requests come to, by each version of the protocol. The ids in the names are those of the protocol's own conformance suite.
struct MachineTests {
    private static let machine = Machine(.starling, version: "1")

    private func request(_ method: String, _ parameters: String = "{}") throws -> RPCRequest {
        let text = #"{"jsonrpc":"2.0","id":1,"method":"\#(method)","params":\#(parameters)}"#
        guard case .request(let request) = try RPCMessage(Array(text.utf8)) else { throw Failure() }
        return request
    }

    private struct Failure: Error {}

    private func modern() throws -> Machine.Era {
        let request = try request(
            "tools/list",
            #"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#
        )
        return .modern(try ModernEnvelope(request, nil))
    }

    private func result(
        _ method: String, _ parameters: String = "{}", _ era: Machine.Era, machine: Machine = machine,
        agent: String? = "ada"
    ) throws -> JSONObject {
        let work = try machine.work(for: request(method, parameters), era, Requester(agent: agent, client: nil))
        guard case .result(let result) = work else { throw Failure() }
        return try JSONObject(result)
    }

    private func error(_ method: String, _ parameters: String = "{}", _ era: Machine.Era) throws -> RPCError? {
        do throws(RPCError) {
            _ = try Self.machine.work(
                for: (try? request(method, parameters))!, era, Requester(agent: nil, client: nil))
            return nil
        } catch {
            return error
        }
    }

    @Test("tools/list has twenty tools, or the ten of claude-flow, and no more than 16 KB by any version")
    func size() throws {
        for (set, count) in [(Machine.ToolSet.starling, 20), (.claudeFlow, 10)] {
            let machine = Machine(set, version: "1")
            for version in ProtocolVersion.allCases {
                let era: Machine.Era = version.isModern ? try modern() : .legacy(version)
                let work = try machine.work(for: request("tools/list"), era, Requester(agent: nil, client: nil))
                guard case .result(let result) = work else { throw Failure() }
                #expect(result.count <= 16 << 10, "\(set) by \(version): \(result.count) bytes")
                let tools = try JSONObject(result).array("tools") ?? []
                #expect(tools.count == count)
                let names = try tools.map { try JSONObject($0).string("name") ?? "" }
                #expect(Set(names).count == count)
                #expect(names.allSatisfy { $0.wholeMatch(of: /[A-Za-z0-9_.-]{1,128}/) != nil })
            }
        }
    }

    @Test("Output schemas are told of from 2025-06-18 on, annotations from 2025-03-26 on; every tool has both then")
    func gating() throws {
        for version in ProtocolVersion.allCases {
            let era: Machine.Era = version.isModern ? try modern() : .legacy(version)
            for tool in try result("tools/list", "{}", era).array("tools") ?? [] {
                let tool = try JSONObject(tool)
                #expect((tool.object("outputSchema") != nil) == (version >= .june2025))
                #expect((tool.object("annotations") != nil) == (version >= .march2025))
                #expect(tool.object("inputSchema")?.string("type") == "object")
            }
        }
    }

    @Test("A tool's answer is text, and the same as structured content where the version has that; errors have none")
    func content() throws {
        let outcome = Step.Outcome(Array(#"{"a":1}"#.utf8))
        let requester = Requester(agent: "ada", client: nil)
        for version in ProtocolVersion.allCases {
            let era: Machine.Era = version.isModern ? try modern() : .legacy(version)
            let answer = try JSONObject(Self.machine.result(of: outcome, .tool, era, requester))
            let text = try JSONObject(try #require(answer.array("content")?.first)).string("text")
            #expect(text == #"{"a":1}"#)
            #expect((answer.raw("structuredContent") != nil) == (version >= .june2025))
            let failed = try JSONObject(
                Self.machine.result(of: ToolFailure(.held, "no", hint: "wait"), era, requester))
            #expect(failed.bool("isError") == true && failed.raw("structuredContent") == nil)
            #expect(failed.object("_meta")?.string("starling/agent") == "ada")
            #expect((failed.string("resultType") != nil) == version.isModern)
        }
    }

    @Test(
        "sep-2575-server-implements-discover, -discover-capabilities-match-handlers, -server-identifies-in-result-meta")
    func discover() throws {
        let era = try modern()
        let discovered = try result("server/discover", "{}", era)
        #expect(discovered.string("resultType") == "complete" && (discovered.integer("ttlMs") ?? 0) > 0)
        let versions = discovered.array("supportedVersions")?.compactMap(JSONObject.string)
        #expect(versions?.first == "2026-07-28" && versions?.count == 5)
        let info = discovered.object("_meta")?.object("io.modelcontextprotocol/serverInfo")
        #expect(info?.string("name") == "starling")
        let capabilities = try #require(discovered.object("capabilities"))
        #expect(
            capabilities.raw("logging") == nil, "-server-no-log-without-loglevel: nothing is ever logged to a client")
        for (capability, method) in [
            ("tools", "tools/list"), ("prompts", "prompts/list"), ("resources", "resources/templates/list"),
        ] {
            #expect(capabilities.raw(capability) != nil)
            #expect(try error(method, "{}", era) == nil)
        }
        #expect(discovered.string("instructions")?.contains("ada") == true)
        #expect(try error("server/discover", "{}", .legacy(.november2025))?.code == .methodNotFound)
    }

    @Test("What a version has not, there is not: sep-2575-http-server-method-not-found-404")
    func methods() throws {
        let modern = try modern()
        for method in ["ping", "logging/setLevel", "resources/subscribe", "initialize", "tasks/get", "x"] {
            let error = try #require(try error(method, #"{"uri":"starling://keys/a"}"#, modern), "\(method)")
            #expect(error.code == .methodNotFound && error.status == 404, "\(method)")
        }
        #expect(
            try error("subscriptions/listen", #"{"notifications":{}}"#, .legacy(.november2025))?.code == .methodNotFound
        )
        #expect(try result("ping", "{}", .legacy(.november2024)).members.isEmpty)
        #expect(try result("logging/setLevel", #"{"level":"info"}"#, .legacy(.june2025)).members.isEmpty)
    }

    @Test(
        "An unknown tool, cursor, prompt or reference is an invalid parameter; wrong arguments are the tool's own error"
    )
    func parameters() throws {
        for era in [try modern(), .legacy(.november2025)] {
            for (method, parameters) in [
                ("tools/call", #"{"name":"nope"}"#), ("tools/call", "{}"),
                ("tools/call", #"{"name":"search","arguments":[]}"#),
                ("tools/list", #"{"cursor":"x"}"#), ("prompts/list", #"{"cursor":""}"#),
                ("prompts/get", #"{"name":"nope"}"#), ("prompts/get", #"{"name":"recall"}"#),
                ("resources/read", "{}"), ("completion/complete", "{}"),
                ("completion/complete", #"{"ref":{"type":"ref/x"},"argument":{"name":"a","value":""}}"#),
            ] { #expect(try error(method, parameters, era)?.code == .invalidParameters, "\(method) \(parameters)") }
            for arguments in [
                "{}", #"{"key":1}"#, #"{"key":"a","nope":1}"#, #"{"key":"a","expect":[]}"#, #"{"key":"a","key":"b"}"#,
            ] {
                let work = try Self.machine.work(
                    for: request("tools/call", #"{"name":"memory_get","arguments":\#(arguments)}"#), era,
                    Requester(agent: "ada", client: nil))
                guard case .plan(let plan, .tool) = work, case .ask(let messages, let next) = plan.step else {
                    throw Failure()
                }
                #expect(messages.isEmpty)
                #expect(throws: ToolFailure.self, "\(arguments)") { _ = try next([]) }
            }
        }
    }

    @Test("A resource that there is not is -32602 by 2026-07-28 (sep-2164), and -32002 before")
    func missingResource() throws {
        for (era, code) in [(try modern(), RPCError.Code.invalidParameters), (.legacy(.june2025), .resourceNotFound)] {
            for uri in ["file:///etc/passwd", "starling://nope/x", "starling://keys/", "starling://swarms/s/nope", "x"]
            {
                let error = try #require(try error("resources/read", #"{"uri":"\#(uri)"}"#, era), "\(uri)")
                #expect(error.code == code, "\(uri)")
            }
            let outcome = Step.Outcome(Array("[]".utf8))
            #expect(throws: RPCError.self) {
                _ = try Self.machine.result(
                    of: outcome, .contents(uri: "u"), era, Requester(agent: nil, client: nil))
            }
        }
    }

    @Test("initialize agrees on the version that is asked for, or on the newest that there is")
    func initialize() throws {
        for (asked, agreed) in [
            ("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
        ] {
            let beginning = try Machine.beginning(
                request("initialize", #"{"protocolVersion":"\#(asked)","clientInfo":{"name":"c"}}"#))
            let result = try JSONObject(
                Self.machine.initialized(beginning, Requester(agent: "ada", client: beginning.client)))
            #expect(result.string("protocolVersion") == agreed && beginning.client == "c")
            #expect(result.object("capabilities")?.object("resources")?.bool("subscribe") == true)
        }
        #expect(throws: RPCError.self) { _ = try Machine.beginning(request("initialize")) }
    }

    @Test("Nobody acts in a swarm who has no name; memories are then those of the program")
    func names() throws {
        let era = try modern()
        for (agent, isNamed) in [("ada", true), (nil, false)] {
            let requester = Requester(agent: agent, client: "prog")
            let work = try Self.machine.work(
                for: request("tools/call", #"{"name":"swarm_join","arguments":{"swarm":"s"}}"#), era, requester)
            guard case .plan(let plan, _) = work, case .ask(let messages, _) = plan.step else { throw Failure() }
            #expect(messages.isEmpty != isNamed)
        }
        #expect(Requester(agent: "c-123", client: "prog", isNameless: true).namespace == "prog")
        #expect(Requester(agent: "ada", client: "prog").namespace == "ada")
        #expect(Requester.name("a\u{0}b\n") == "ab" && Requester.name("") == "agent")
    }
}
