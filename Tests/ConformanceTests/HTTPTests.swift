import Foundation
import SyncProtocol
import Testing
import WebSocket

extension ConformanceTests {
    /// HTTP and handshakes on one connection, as proxies send them, and what pages in browsers may ask for.
    struct HTTPTests {
        private let server: ServerProcess

        init() throws { server = try ServerProcess() }

        private func request(_ line: String, _ headers: String = "", host: String = "localhost") -> [UInt8] {
            Array("\(line) HTTP/1.1\r\nHost: \(host)\r\n\(headers)\r\n".utf8)
        }

        /// A response on a connection that goes on: the head, and as much body as that says.
        private func response(_ client: RawClient, hasBody: Bool = true) throws -> (head: String, body: String) {
            let head = try client.readHead()
            let length = head.lowercased().firstMatch(of: /content-length: (\d+)/).flatMap { Int($0.1) } ?? 0
            return (head, hasBody ? String(decoding: try client.read(length), as: UTF8.self) : "")
        }

        @Test("A handshake is answered at whatever place of a connection it comes, and what is behind it is taken")
        func upgradeLater() throws {
            for count in 0..<3 {
                let client = try RawClient(port: server.port)
                for _ in 0..<count {
                    try client.send(raw: request("GET /healthz"))
                    #expect(try response(client).body == "ok\n")
                }
                try client.send(
                    raw: RawClient.handshake() + RawClient.frame(.text, Array(#"{"type":"ping","id":"p"}"#.utf8)))
                #expect(try client.readHead().hasPrefix("HTTP/1.1 101"))
                #expect(try client.receive().string("type") == "welcome")
                #expect(try client.receive(type: "pong").string("id") == "p")
            }
            // All at once, as a client that pipelines sends it.
            let client = try RawClient(port: server.port)
            try client.send(raw: request("GET /healthz") + request("GET /readyz") + RawClient.handshake())
            #expect(try response(client).body == "ok\n")
            #expect(try response(client).body == "ready\n")
            #expect(try client.readHead().hasPrefix("HTTP/1.1 101"))
            #expect(try client.receive().string("type") == "welcome")
            try client.sendClose()
            #expect(try client.receiveAll().close == 1000)
            try ServerProcess.until { try HTTP.get("/metrics", server).contains("\nstarling_sockets 1\n") ? true : nil }
        }

        @Test("What was asked is answered, also where what is behind it is none, and where nothing more comes")
        func answered() throws {
            let broken = try RawClient(port: server.port)
            try broken.send(raw: request("GET /healthz") + Array("GET / HTTP/1.1\r\nX\0Y: 1\r\n\r\n".utf8))
            #expect(try broken.readAll().contains("ok\n"))
            let closed = try RawClient(port: server.port)
            try closed.send(raw: request("GET /healthz") + request("GET /healthz") + request("GET /healthz"))
            closed.shutdownSending()
            #expect(try closed.readAll().components(separatedBy: "200 OK").count == 4)
        }

        @Test("Nothing is held of a body, and one that is too large, or a second Host, is refused before it comes")
        func refusedAtOnce() throws {
            for (headers, status) in [
                ("Content-Length: 2097152\r\nExpect: 100-continue\r\n", "413"), ("Host: localhost\r\n", "400"),
                ("Origin: http://localhost\r\nOrigin: https://evil.example\r\n", "400"),
                ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", "400"),
            ] {
                let client = try RawClient(port: server.port)
                try client.send(raw: request("POST /healthz", headers))
                #expect(try client.readAll().hasPrefix("HTTP/1.1 \(status)"))
            }
        }

        @Test(
            "A host that is none, or missing, is refused on every route",
            arguments: ["localhost:1@evil", "localhost:port", nil])
        func malformedHost(host: String?) throws {
            for route in ["/readyz", "/sync", "/"] {
                let client = try RawClient(port: server.port)
                try client.send(raw: Array("GET \(route) HTTP/1.1\r\n\(host.map { "Host: \($0)\r\n" } ?? "")\r\n".utf8))
                #expect(try client.readAll().hasPrefix("HTTP/1.1 400"))
            }
            let old = try RawClient(port: server.port)
            try old.send(raw: Array("GET /readyz HTTP/1.0\r\n\r\n".utf8))
            #expect(try old.readAll().contains("200 OK"))
        }

        @Test("Where the target is a whole URL, its host counts, and not what Host says")
        func absoluteTarget() throws {
            for (target, status) in [("http://evil.example/metrics", "421"), ("http://localhost/metrics", "200")] {
                let client = try RawClient(port: server.port)
                try client.send(raw: request("GET \(target)", "Connection: close\r\n"))
                #expect(try client.readAll().hasPrefix("HTTP/1.1 \(status)"))
            }
        }

        @Test("A handshake that is refused behind another request is answered, and the connection ends")
        func refusedLater() throws {
            let client = try RawClient(port: server.port)
            try client.send(raw: request("GET /healthz"))
            _ = try response(client)
            try client.send(raw: RawClient.handshake(extra: "Origin: https://evil.example\r\n"))
            #expect(try client.readAll().hasPrefix("HTTP/1.1 403"))
        }

        @Test("Other protocols are not spoken: each such request is answered, and the connection ends with it")
        func otherProtocols() throws {
            for (line, headers, status) in [
                (
                    "GET /healthz",
                    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", "200"
                ),
                ("CONNECT example.com:443", "", "400"), ("PRI *", "", "400"),
            ] {
                for isFirst in [true, false] {
                    let client = try RawClient(port: server.port)
                    if !isFirst {
                        try client.send(raw: request("GET /healthz"))
                        _ = try response(client)
                    }
                    try client.send(raw: request(line, headers) + request("GET /healthz"))
                    let answer = try client.readAll()
                    #expect(answer.hasPrefix("HTTP/1.1 \(status)"), "\(line): \(answer)")
                }
            }
        }

        @Test("HEAD and OPTIONS are answered, other methods say what there is, and bodies are taken or refused")
        func methods() throws {
            let client = try RawClient(port: server.port)
            try client.send(raw: request("HEAD /healthz"))
            let head = try response(client, hasBody: false).head
            #expect(head.hasPrefix("HTTP/1.1 200") && head.lowercased().contains("content-length: 3"), "\(head)")
            try client.send(raw: request("POST /healthz", "Content-Length: 5\r\n") + Array("hello".utf8))
            let refused = try response(client)
            #expect(
                refused.head.hasPrefix("HTTP/1.1 405") && refused.head.lowercased().contains("allow: get, head"),
                "\(refused)")
            try client.send(raw: request("OPTIONS /healthz"))
            let options = try response(client).head
            #expect(
                options.hasPrefix("HTTP/1.1 204") && options.lowercased().contains("allow: get, head"), "\(options)")
            try client.send(raw: request("GET /nowhere"))
            #expect(try response(client).head.hasPrefix("HTTP/1.1 404"))
            try client.send(raw: request("POST /healthz", "Content-Length: 99999999\r\n"))
            try? client.send(raw: [UInt8](repeating: 0x20, count: 3 << 20))
            #expect(try client.readHead().hasPrefix("HTTP/1.1 413"))
        }

        @Test(
            "What is no request is answered by 400, wherever it comes; values in Latin-1 and whole URLs are none of that"
        )
        func heads() throws {
            for isFirst in [true, false] {
                for broken in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\u{1}b\r\n\r\n"] {
                    let client = try RawClient(port: server.port)
                    if !isFirst {
                        try client.send(raw: request("GET /healthz"))
                        _ = try response(client)
                    }
                    try client.send(raw: Array(broken.utf8))
                    #expect(try client.readAll().hasPrefix("HTTP/1.1 400"), "\(broken)")
                }
            }
            let latin = Array("X-Name: M".utf8) + [0xFC] + Array("ller\r\n\r\n".utf8)
            let client = try RawClient(port: server.port)
            try client.send(raw: RawClient.handshake().dropLast(2) + latin)
            #expect(try client.readHead().hasPrefix("HTTP/1.1 101"))
            let whole = try RawClient(port: server.port)
            try whole.send(
                raw: Array(
                    String(decoding: RawClient.handshake(), as: UTF8.self)
                        .replacing("GET /sync", with: "GET http://localhost:1/sync?x=1")
                        .replacing("Host: localhost", with: "Host: ignored.example").utf8))
            #expect(try whole.readHead().hasPrefix("HTTP/1.1 101"))
        }

        @Test(
            "Nothing is carried out for a page that may not ask, nor for one whose name was made to lead here",
            arguments: [
                ("localhost", "", "200"), ("127.0.0.1:7827", "", "200"), ("[::1]:1", "", "200"),
                ("rebound.example", "", "421"), ("localhost.evil.example", "", "421"),
                ("localhost", "Origin: https://evil.example\r\n", "403"), ("localhost", "Origin: null\r\n", "403"),
                ("localhost", "Origin: http://localhost\r\n", "200"),
                ("localhost", "Sec-Fetch-Site: cross-site\r\n", "403"),
                ("localhost", "Sec-Fetch-Site: same-site\r\n", "403"),
                ("localhost", "Sec-Fetch-Site: same-origin\r\n", "200"),
                ("localhost", "Sec-Fetch-Site: none\r\n", "200"),
            ])
        func pages(host: String, headers: String, status: String) throws {
            for route in ["/metrics", "/healthz", "/readyz"] {
                let client = try RawClient(port: server.port)
                try client.send(raw: request("GET \(route)", headers + "Connection: close\r\n", host: host))
                let expected = route == "/metrics" ? status : "200"
                #expect(try client.readAll().hasPrefix("HTTP/1.1 \(expected)"), "\(route) \(host) \(headers)")
            }
            let client = try RawClient(port: server.port)
            try client.send(
                raw: Array(
                    String(decoding: RawClient.handshake(extra: headers), as: UTF8.self)
                        .replacing("Host: localhost", with: "Host: \(host)").utf8))
            let shaken = status == "200" ? "101" : status
            #expect(try client.readHead().hasPrefix("HTTP/1.1 \(shaken)"), "\(host) \(headers)")
        }
    }
}
