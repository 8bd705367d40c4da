import Foundation
import Registers
import StarlingServer
import SyncProtocol
import Testing

extension ConformanceTests.AccessMatrixTests {
    /// What each request answers, as text: head and body.
    private static func text(_ answer: RESTClient.Answer) -> String { "\(answer.headers) \(answer.body)" }

    /// Requests that change nothing, so that what is there stays to be shown.
    private static func writes(_ client: RESTClient, _ key: String) throws -> [(
        name: String, answer: RESTClient.Answer
    )] {
        let path = RESTClient.escape(key)
        let old = "\"000000000001-0000-x\""
        return [
            ("PUT *", try client.ask("PUT", "/v1/keys/\(path)", "0", ["If-None-Match": "*"])),
            ("PUT", try client.ask("PUT", "/v1/keys/\(path)", "0", ["If-Match": old])),
            ("DELETE", try client.ask("DELETE", "/v1/keys/\(path)", nil, ["If-Match": old])),
            (
                "POST batch",
                try client.ask("POST", "/v1/batches", #"{"writes":[{"key":"\#(key)","value":0,"expect":null}]}"#)
            ),
            ("PATCH", try client.ask("PATCH", "/v1/keys/\(path)?ttl=0.001")),
            ("POST claim", try client.ask("POST", "/v1/claims/\(path)", #"{"ttl":1}"#)),
            ("PATCH claim", try client.ask("PATCH", "/v1/claims/\(path)", #"{"fence":1}"#)),
            ("DELETE claim", try client.ask("DELETE", "/v1/claims/\(path)", #"{"fence":1}"#)),
        ]
    }

    @Test("Over HTTP no answer about a key shows anything of it to a token that may not read it")
    func keysOverHTTP() throws {
        for token in Self.tokens {
            let client = try RESTClient(server, token: access.tokens[token.id])
            let hidden = Self.keys.filter { !token.mayRead($0) }
            for key in Self.keys {
                let name = "\(token.id) \(key)"
                let path = RESTClient.escape(key)
                let reads = [
                    try client.ask("GET", "/v1/keys/\(path)"), try client.ask("GET", "/v1/keys?key=\(path)"),
                    try client.ask("GET", "/v1/keys/\(path)?wait=0&revision=0"),
                ]
                for answer in reads { #expect(answer.status == (token.mayRead(key) ? 200 : 403), "GET \(name)") }
                expectNoTrace(of: hidden, in: reads.map(Self.text), named: key, "GET \(name)")
                for (request, answer) in try Self.writes(client, key) {
                    #expect((answer.status == 403) == !token.mayWrite(key), "\(request) \(name): \(answer)")
                    expectNoTrace(of: hidden, in: [Self.text(answer)], named: key, "\(request) \(name)")
                }
            }
        }
    }

    @Test("Over HTTP lists and streams show what a token may read of what it asks for")
    func patternsOverHTTP() throws {
        for token in Self.tokens {
            let client = try RESTClient(server, token: access.tokens[token.id])
            let hidden = Self.keys.filter { !token.mayRead($0) }
            for pattern in Self.patterns {
                let asked = try Pattern(pattern)
                let expected = Set(try Self.keys.filter { try asked.matches(Key($0)) && token.mayRead($0) })
                let place = "\(token.id) \(pattern)"
                let query = "pattern=\(RESTClient.escape(pattern))"
                let list = try client.ask("GET", "/v1/keys?\(query)&limit=1000")
                let listed = try (list.json.array("registers") ?? []).map { try JSONObject($0).string("key") ?? "" }
                #expect(Set(listed) == expected, "\(place)")
                expectNoTrace(of: hidden, in: [list.body], named: pattern, "the list of \(place)")
                let stream = try RESTClient(server, token: access.tokens[token.id])
                try stream.send("GET", "/v1/events?\(query)")
                let answer = try stream.answer()
                guard answer.status == 200 else {
                    #expect(answer.status == 403 && expected.isEmpty, "\(place): \(answer)")
                    expectNoTrace(of: hidden, in: [answer.body], named: pattern, "the refusal of \(place)")
                    continue
                }
                var told: [String] = []
                while let event = try stream.event(), event.name != "synced" { told.append(event.data) }
                let keys = told.compactMap { try? JSONObject(Array($0.utf8)) }.compactMap { $0.string("key") }
                #expect(Set(keys) == expected, "\(place)")
                expectNoTrace(of: hidden, in: told, named: pattern, "the stream of \(place)")
            }
        }
    }

    @Test(
        "Over HTTP nobody gets anything without credentials, or with wrong ones, and each request counts against its limit"
    )
    func strangersOverHTTP() throws {
        for token in [nil, "stl.all.guess", ""] {
            for (method, path, body) in [
                ("GET", "/v1/keys/config", nil), ("PUT", "/v1/keys/config", "0"), ("DELETE", "/v1/keys/config", nil),
                ("GET", "/v1/keys", nil), ("GET", "/v1/events?pattern=*", nil), ("POST", "/v1/claims/x", #"{"ttl":1}"#),
                ("POST", "/v1/batches", #"{"writes":[{"key":"config","value":0}]}"#),
            ] as [(String, String, String?)] {
                let answer = try RESTClient(server, token: token).ask(method, path, body)
                #expect(answer.status == 401 && answer.headers["www-authenticate"] == "Bearer", "\(method) \(answer)")
                expectNoTrace(of: Self.keys, in: [Self.text(answer)], named: "config", "\(method) \(path)")
            }
        }
        let other = try RESTClient(server).ask("GET", "/v1/keys", nil, ["Authorization": "Basic YTpi"])
        #expect(other.status == 401)
        let limited = try AccessFixture()
        try limited.add("slow", read: ["*"], write: ["*"]) {
            $0.limits = try? JSONDecoder().decode(
                AccessFile.Limits.self, from: Data(#"{"messages_per_second":1}"#.utf8))
        }
        let limitedServer = try limited.start()
        let answers = try (0..<20).map { _ in
            try RESTClient(limitedServer, token: limited.tokens["slow"]).ask("GET", "/v1/keys/k")
        }
        let refused = answers.filter { $0.status == 429 }
        #expect(!refused.isEmpty && refused.allSatisfy { $0.headers["retry-after"] != nil }, "\(answers.map(\.status))")
    }

    @Test("Over HTTP a fixed name is that of all writes, another is refused, and a revoked token ends at once")
    func namesOverHTTP() throws {
        let rules = try AccessFixture()
        try rules.add("fixed", read: ["*"], write: ["*"]) { $0.agent = "alice" }
        let ruled = try rules.start()
        let client = try RESTClient(ruled, token: rules.tokens["fixed"])
        #expect(try client.ask("PUT", "/v1/keys/k", "1").json.string("version")?.hasSuffix("-alice") == true)
        let other = try client.ask("PUT", "/v1/keys/k", "2", ["Starling-Agent": "ceo"])
        #expect(other.status == 403 && other.json.string("code") == "forbidden")
        #expect(try client.ask("PUT", "/v1/keys/k", "3", ["Starling-Agent": "alice"]).status == 200)
        try rules.revoke("fixed")
        try ServerProcess.until { try client.ask("GET", "/v1/keys/k").status == 401 ? true : nil }
    }
}
