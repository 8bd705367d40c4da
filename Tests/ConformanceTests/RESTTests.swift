import Foundation
import Registers
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Keys and claims over HTTP, on the real server.
    struct RESTTests {
        private let server: ServerProcess
        private let client: RESTClient

        init() throws {
            server = try ServerProcess()
            client = try RESTClient(server)
        }

        @Test("A value is read as it was written, byte by byte, whatever the key")
        func values() throws {
            for key in ["a:1", "a/b", "a b", "ü*?\\", "100%", "a+b", "a%2Fb", "?x=1#y", "😀"] {
                let value = "[1.50,\n \"é\\u00e9\" ]"
                let path = "/v1/keys/\(RESTClient.escape(key))"
                let written = try client.ask("PUT", path, value)
                #expect(written.status == 200 && written.json.string("key") == key, "\(written)")
                let read = try client.ask("GET", path)
                #expect(read.status == 200 && read.body == value && read.tag == written.tag)
                let named = try client.ask("GET", "/v1/keys?key=\(RESTClient.escape(key))")
                #expect(named.body == value)
                #expect(try client.ask("HEAD", path).headers["content-length"] == "\(value.utf8.count)")
            }
            // Slashes may stand for themselves, and a space in a query may be a plus.
            #expect(try client.ask("GET", "/v1/keys/a/b").status == 200)
            #expect(try client.ask("GET", "/v1/keys?key=a+b").status == 200)
            #expect(try client.ask("GET", "/v1/keys?k%65y=a+b").status == 200, "an encoded name is the same name")
            let socket = try RawClient.connected(server)
            try socket.send(#"{"type":"get","id":1,"key":"a%2Fb"}"#)
            #expect(try socket.receive(type: "register").bool("found") == true)
        }

        @Test("Entity tags are conditions: what is in place stays where they are not met")
        func conditions() throws {
            let path = "/v1/keys/k"
            #expect(try client.ask("GET", path).json.string("code") == "absent")
            let first = try client.ask("PUT", path, "1", ["If-None-Match": "*", "Starling-Agent": "ä, \"b\""])
            #expect(first.status == 200 && first.json.bool("judged") == true)
            #expect(first.tag.wholeMatch(of: /"[A-Za-z0-9._~%-]+"/) != nil)
            let again = try client.ask("PUT", path, "2", ["If-None-Match": "*"])
            #expect(again.status == 412 && again.json.object("current")?.raw("value") == Array("1".utf8))
            #expect(try client.ask("GET", path, nil, ["If-None-Match": first.tag]).status == 304)
            let second = try client.ask("PUT", path, "2", ["If-Match": first.tag])
            #expect(second.status == 200 && second.tag != first.tag)
            #expect(try client.ask("GET", path, nil, ["If-None-Match": first.tag]).body == "2")
            #expect(try client.ask("DELETE", path, nil, ["If-Match": first.tag]).status == 412)
            #expect(try client.ask("GET", path).body == "2")
            #expect(try client.ask("DELETE", path, nil, ["If-Match": second.tag]).status == 200)
            #expect(try client.ask("GET", path).status == 404)
        }

        @Test(
            "A batch is applied whole, or says what it failed for; an Idempotency-Key makes it, and a PUT, safe to send again"
        )
        func batches() throws {
            let body = #"{"writes":[{"key":"a","value":1,"expect":null},{"key":"b","value":{"x":1},"ttl":60}]}"#
            let named = ["Idempotency-Key": "0011223344556677", "Starling-Agent": "me", "Starling-Session": "s1"]
            let made = try client.ask("POST", "/v1/batches", body, named)
            #expect(made.status == 200 && made.json.integer("first") == 1 && made.json.integer("last") == 2)
            let versions = (made.json.array("versions") ?? []).compactMap(JSONObject.string)
            #expect(versions.count == 2 && versions.allSatisfy { $0.hasSuffix("-me") })
            let listed = try client.ask("GET", "/v1/keys").json.array("registers") ?? []
            #expect(try listed.map { try JSONObject($0).string("session") } == ["s1", "s1"])
            let refused = try client.ask("POST", "/v1/batches", body)
            #expect(refused.status == 412 && refused.json.string("code") == "condition")
            let failure = try JSONObject(#require(refused.json.array("failed")?.first))
            #expect(failure.integer("write") == 0 && failure.object("current")?.string("version") == versions[0])
            #expect(try client.ask("PUT", "/v1/keys/a", "2", ["Idempotency-Key": "p"]).json.integer("revision") == 3)
            #expect(try client.ask("PUT", "/v1/keys/a", "2", ["Idempotency-Key": "p"]).json.integer("revision") == 3)
            #expect(try client.ask("POST", "/v1/batches", body, named).body == made.body)
            #expect(try client.ask("GET", "/v1/keys/a").body == "2")
            let claimed = try client.ask("POST", "/v1/claims/lock", #"{"ttl":60}"#, ["Idempotency-Key": "c"])
            let fence = try #require(claimed.json.integer("fence"))
            let again = try client.ask("POST", "/v1/claims/lock", #"{"ttl":60}"#, ["Idempotency-Key": "c"])
            #expect(again.json.integer("fence") == fence)
            let held = try client.ask("POST", "/v1/batches", #"{"writes":[{"key":"lock","value":1}]}"#)
            #expect(held.status == 409 && held.json.string("code") == "held")
            let done =
                #"{"require":[{"key":"lock","fence":\#(fence)}],"writes":[{"key":"a","value":3},{"key":"lock","release":\#(fence)}]}"#
            #expect(try client.ask("POST", "/v1/batches", done).status == 200)
            #expect(try client.ask("POST", "/v1/batches", done).json.string("code") == "stale_fence")
            for body in [
                "", "[]", "{}", #"{"writes":[]}"#, #"{"writes":[{"key":"a"}]}"#, #"{"wrties":[]}"#,
                #"{"writes":[{"key":"a","value":1}],"id":1}"#, #"{"writes":[{"key":"a","value":1,"exepct":null}]}"#,
                #"{"writes":[{"key":"a","value":1}],"require":[{"key":"a","verison":null}]}"#,
                #"{"writes":[{"key":"a","value":1}],"op":"o"}"#,
            ] {
                #expect(
                    try client.ask("POST", "/v1/batches", body, body.hasSuffix(#""op":"o"}"#) ? named : [:]).status
                        == 400, "\(body)")
            }
            #expect(try client.ask("POST", "/v1/batches?ttl=1", body).status == 400)
            #expect(try client.ask("PUT", "/v1/keys/p", "1", ["Idempotency-Key": "q"]).status == 200)
            #expect(try client.ask("PUT", "/v1/keys/p", "2", ["Idempotency-Key": "q"]).status == 400)
            #expect(try client.ask("PUT", "/v1/keys/p", "3", ["Idempotency-Key": ""]).status == 400)
            #expect(try client.ask("GET", "/v1/keys/p").body == "1")
        }

        @Test(
            "What is not understood is refused, and nothing is written",
            arguments: [
                ("PUT", "?tll=1", "1", "", ""), ("PUT", "?ttl=soon", "1", "", ""),
                ("PUT", "?ttl=null", "1", "", ""), ("PUT", "?ttl=%201%20", "1", "", ""),
                ("PUT", "", String(repeating: "[", count: 130) + String(repeating: "]", count: 130), "", ""),
                ("PUT", "?ttl=1&ttl=2", "1", "", ""),
                ("PUT", "?ttl=-1", "1", "", ""), ("PUT", "?ttl=1,%22expect%22:null", "1", "", ""),
                ("PUT", "", "", "", ""), ("PUT", "", "1 2", "", ""), ("PUT", "", "{\"a\":}", "", ""),
                ("PUT", "", "1,\"session\":\"s\"", "", ""), ("PUT", "", "1", "If-Match", "*"),
                ("PUT", "", "1", "If-Match", "W/\"x\""), ("PUT", "", "1", "If-Match", "\"a\", \"b\""),
                ("PUT", "", "1", "If-Match", "\"not a version\""), ("PUT", "", "1", "If-None-Match", "\"x\""),
                ("PUT", "", "1", "Starling-Agent", "a\tb"), ("GET", "?wait=1", "", "", ""),
                ("GET", "?wait=99&revision=1", "", "", ""), ("GET", "?revision=1", "", "", ""),
                ("DELETE", "?ttl=1", "", "", ""), ("PUT", "?key=other", "1", "", ""),
            ])
        func misunderstood(method: String, query: String, body: String, name: String, value: String) throws {
            let headers = name.isEmpty ? [:] : [name: value]
            let answer = try client.ask(method, "/v1/keys/k\(query)", body.isEmpty ? nil : body, headers)
            #expect(answer.status == 400, "\(answer)")
            #expect(answer.headers["content-type"] == "application/problem+json")
            #expect(answer.json.string("detail")?.isEmpty == false && answer.json.integer("status") == 400)
            #expect(try client.ask("GET", "/v1/keys/k").status == 404)
        }

        @Test("Keys that are none, bodies that are too large, and methods that there are not, have their status")
        func refused() throws {
            for path in [
                "/v1/keys/%00", "/v1/keys/%FF", "/v1/keys/%", "/v1/keys/\(String(repeating: "k", count: 513))",
            ] {
                #expect(try client.ask("PUT", path, "1").status == 400, "\(path)")
            }
            #expect(try client.ask("PUT", "/v1/keys", "1").status == 400)
            let large = try client.ask("PUT", "/v1/keys/k", "\"\(String(repeating: "v", count: 1_048_577))\"")
            #expect(large.status == 413 && large.json.string("code") == "too_large", "\(large.status) \(large.body)")
            let post = try client.ask("POST", "/v1/keys/k", "1")
            #expect(post.status == 405 && post.headers["allow"]?.contains("PUT") == true)
            #expect(try client.ask("GET", "/v1/nothing").status == 404)
            let huge = try RESTClient(server)
            try huge.send("PUT", "/v1/keys/k", nil, ["Content-Length": "99999999"])
            #expect(try huge.answer().status == 413)
        }

        @Test("A key is what the path says, wherever it is written, and a path that is none is no key")
        func paths() throws {
            for path in ["//v1/keys/k", "/v1//keys/k", "/v1/nothing", "/v1/keysk"] {
                let answer = try client.ask("PUT", path, "1")
                #expect(answer.status == 404 && answer.headers["content-type"] == "application/problem+json", "\(path)")
            }
            #expect(try client.ask("GET", "/v1/keys").json.array("registers")?.isEmpty == true)
            #expect(try client.ask("PUT", "/v1/keys//k", "1").json.string("key") == "/k")
            #expect(try client.ask("PUT", "http://localhost/v1/keys/whole", "2").status == 200)
            #expect(try client.ask("GET", "/v1/keys/whole").body == "2")
            let tag = try client.ask("GET", "/v1/keys/whole").tag
            for known in ["W/\(tag)", "\"other\", \(tag)", "\"other\",W/\(tag)", "*"] {
                #expect(
                    try client.ask("GET", "/v1/keys/whole", nil, ["If-None-Match": known]).status == 304, "\(known)")
            }
            #expect(try client.ask("GET", "/v1/keys/whole", nil, ["If-None-Match": "\"other\""]).status == 200)
        }

        @Test("Who resets a connection in the middle of a request leaves nothing behind")
        func resets() throws {
            for number in 0..<400 {
                let client = try RawClient(port: server.port)
                client.resetsAtClose()
                let agent = number % 2 == 0 ? "" : "Starling-Agent: a\r\n"
                try client.send(raw: Array("GET /v1/keys/x HTTP/1.1\r\nHost: localhost\r\n\(agent)\r\n".utf8))
            }
            try ServerProcess.until {
                try HTTP.get("/metrics", server).contains("\nstarling_connections 0\n") ? true : nil
            }
        }

        @Test("Strangers who stop in the middle of a body keep nobody with good credentials from writing")
        func hogs() throws {
            let access = try AccessFixture()
            try access.add("good", read: ["*"], write: ["*"])
            // A sixteenth of it is for strangers.
            let server = try access.start(["--max-unfinished", "16777216"])
            let hogs = try (0..<4).map { _ in
                let hog = try RawClient(port: server.port)
                let head = "PUT /v1/keys/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
                try? hog.send(raw: Array((head + String(repeating: "x", count: 900_000)).utf8))
                return hog
            }
            let value = "\"\(String(repeating: "v", count: 900_000))\""
            for _ in 0..<3 {
                let answer = try RESTClient(server, token: access.tokens["good"]).ask("PUT", "/v1/keys/k", value)
                #expect(answer.status == 200, "\(answer)")
            }
            // Of the strangers some were refused, and told why.
            let refused = try hogs[3].readHead()
            #expect(refused.hasPrefix("HTTP/1.1 503") && refused.lowercased().contains("retry-after"), "\(refused)")
        }

        @Test("A list goes from page to page, in the order of keys")
        func lists() throws {
            for number in 0..<25 { _ = try client.ask("PUT", "/v1/keys/l:\(number + 10)", "\(number)") }
            var seen: [String] = []
            var after = ""
            while true {
                let page = try client.ask("GET", "/v1/keys?pattern=l:*&limit=10\(after)")
                for register in try #require(page.json.array("registers")) {
                    seen.append(try JSONObject(register).string("key") ?? "")
                }
                guard let next = page.json.string("next") else { break }
                after = "&after=\(RESTClient.escape(next))"
            }
            #expect(seen == (10..<35).map { "l:\($0)" })
            #expect(try client.ask("GET", "/v1/keys?limit=0").status == 400)
            #expect(try client.ask("GET", "/v1/keys?pattern=").status == 400)
        }

        @Test("One holds a claim at a time, by its fence; values with a time to live end")
        func claims() throws {
            let claimed = try client.ask("POST", "/v1/claims/lock", #"{"ttl":60,"value":{"by":1}}"#)
            let fence = try #require(claimed.json.integer("fence"))
            let other = try RESTClient(server).ask("POST", "/v1/claims/lock", #"{"ttl":60}"#)
            #expect(other.status == 409 && other.json.string("code") == "held" && other.json.raw("holder") != nil)
            #expect(try client.ask("PUT", "/v1/keys/lock", "1").json.string("code") == "held")
            let renewed = try RESTClient(server).ask("PATCH", "/v1/claims/lock", #"{"fence":\#(fence),"ttl":90}"#)
            #expect(renewed.status == 200, "\(renewed)")
            #expect(try client.ask("DELETE", "/v1/claims/lock", #"{"fence":1}"#).json.string("code") == "stale_fence")
            #expect(try client.ask("DELETE", "/v1/claims/lock", #"{"fence":\#(fence)}"#).status == 200)
            #expect(try client.ask("POST", "/v1/claims/lock", #"{"tll":60}"#).status == 400)
            #expect(try client.ask("POST", "/v1/claims/lock", "").status == 400)
            _ = try client.ask("PUT", "/v1/keys/plain", "1")
            #expect(try client.ask("POST", "/v1/claims?key=plain", #"{"ttl":60}"#).json.string("code") == "exists")
            let kept = try client.ask("PUT", "/v1/keys/kept?ttl=60", "1")
            let touched = try client.ask("PATCH", "/v1/keys/kept?ttl=600")
            #expect(touched.status == 200 && touched.tag == kept.tag && touched.headers["starling-expires-at"] != nil)
            #expect(try client.ask("PATCH", "/v1/keys/nothing?ttl=60").status == 404)
            #expect(try client.ask("PATCH", "/v1/keys/kept").status == 400)
            #expect(try client.ask("PATCH", "/v1/keys/kept?ttl=60", nil, ["If-Match": kept.tag]).status == 400)
            let short = try client.ask("PUT", "/v1/keys/short?ttl=0.05", "1")
            #expect(short.headers["starling-expires-at"] != nil)
            try ServerProcess.until { try client.ask("GET", "/v1/keys/short").status == 404 ? true : nil }
        }

        @Test("A long poll is answered by the next change, also by a delete, and at the end of its time")
        func longPoll() throws {
            let tag = try client.ask("PUT", "/v1/keys/p*", "1").tag
            let waiting = try RESTClient(server)
            try waiting.send("GET", "/v1/keys/p*?wait=30", nil, ["If-None-Match": tag])
            _ = try client.ask("PUT", "/v1/keys/pother", "1")
            _ = try client.ask("PUT", "/v1/keys/p*", "2")
            #expect(try waiting.answer().body == "2")
            let known = try client.ask("GET", "/v1/keys/p*")
            #expect(try waiting.ask("GET", "/v1/keys/p*?wait=0", nil, ["If-None-Match": known.tag]).status == 304)
            let revision = known.headers["starling-revision"] ?? ""
            #expect(try waiting.ask("GET", "/v1/keys/p*?wait=0&revision=\(revision)").status == 204)
            try waiting.send("GET", "/v1/keys/p*?wait=30&revision=\(revision)")
            _ = try client.ask("DELETE", "/v1/keys/p*")
            #expect(try waiting.answer().status == 404)
            #expect(try waiting.ask("GET", "/v1/keys/p*?wait=30", nil, ["If-None-Match": tag]).status == 404)
            // What was absent, and is deleted again, is absent still.
            try waiting.send("GET", "/v1/keys/p*?wait=30&revision=0")
            _ = try client.ask("DELETE", "/v1/keys/p*")
            // And what is seen and not kept is no value of the key.
            let socket = try RawClient.connected(server)
            try socket.send(#"{"type":"broadcast","id":1,"key":"p*","value":"fleeting","transient":true}"#)
            _ = try socket.receive(type: "ack")
            _ = try client.ask("PUT", "/v1/keys/p*", "3")
            #expect(try waiting.answer().body == "3")
            let long = String(repeating: "k", count: 512)
            _ = try client.ask("PUT", "/v1/keys/\(long)", "1")
            #expect(try waiting.ask("GET", "/v1/keys/\(long)?wait=0&revision=1").body == "1")
            let there = try waiting.ask("GET", "/v1/keys/\(long)").headers["starling-revision"] ?? ""
            #expect(try waiting.ask("GET", "/v1/keys/\(long)?wait=1&revision=\(there)").status == 204)
        }

        @Test("Who is gone leaves no connection behind: streams, long polls and plain requests")
        func leftBehind() throws {
            _ = try client.ask("PUT", "/v1/keys/k", "1")
            func connections() throws -> String? {
                try HTTP.get("/metrics", server).firstMatch(of: /(?m)^starling_connections (\d+)$/).map { String($0.1) }
            }
            #expect(try connections() == "1")
            do {
                let stream = try RESTClient(server)
                try stream.send("GET", "/v1/events?pattern=*")
                _ = try stream.answer()
                _ = try stream.event("synced")
                let polling = try RESTClient(server)
                try polling.send("GET", "/v1/keys/k?wait=50&revision=1")
                try ServerProcess.until { try connections() == "4" ? true : nil }
            }
            // A write finds out that nobody is there any more.
            try ServerProcess.until {
                _ = try client.ask("PUT", "/v1/keys/k", "1")
                return try connections() == "1" ? true : nil
            }
        }

        @Test("Pages of an origin that is let in may write, and read what the answers say; others may not")
        func origins() throws {
            let allowed = try ServerProcess(["--allow-origin", "https://app.example"])
            let client = try RESTClient(allowed)
            let origin = ["Origin": "https://app.example"]
            let preflight = try client.ask(
                "OPTIONS", "/v1/keys/k", nil,
                origin.merging(["Access-Control-Request-Method": "PUT"]) { first, _ in first })
            #expect(preflight.status == 204)
            #expect(preflight.headers["access-control-allow-methods"]?.contains("PUT") == true)
            #expect(preflight.headers["access-control-allow-headers"]?.contains("If-Match") == true)
            let written = try client.ask("PUT", "/v1/keys/k", "1", origin)
            #expect(written.headers["access-control-allow-origin"] == "https://app.example")
            #expect(written.headers["access-control-expose-headers"]?.contains("ETag") == true)
            let evil = try client.ask("PUT", "/v1/keys/k", "2", ["Origin": "https://evil.example"])
            #expect(evil.status == 403)
            #expect(try client.ask("PUT", "/v1/keys/k", "2", ["Sec-Fetch-Site": "cross-site"]).status == 403)
            #expect(try client.ask("GET", "/v1/keys/k").body == "1")
        }
    }
}
