import Testing
import WebSocket

/// Section 4.2 of RFC 6455.
struct HandshakeTests {
    private static let good = [
        ("host", "server.example.com"), ("upgrade", "websocket"), ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13"),
    ]

    private func request(
        _ changes: [String: String] = [:], without missing: String? = nil, method: String = "GET",
        version: (Int, Int) = (1, 1)
    ) -> RequestHead {
        var headers = Self.good.filter { changes[$0.0] == nil && $0.0 != missing }
        for (name, value) in changes { headers.append((name, value)) }
        return RequestHead(
            method: method, target: "/sync", version: version, headers: headers.map { (name: $0.0, value: $0.1) })
    }

    @Test("Section 1.3: the example of the RFC is accepted")
    func example() throws {
        let response = try Handshake().accept(request()).response
        #expect(response.hasPrefix("HTTP/1.1 101 Switching Protocols\r\n"))
        #expect(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
        #expect(response.hasSuffix("\r\n\r\n"))
        #expect(!response.contains("Sec-WebSocket-Protocol"))
    }

    @Test("Each thing that is wrong has its status")
    func refusals() {
        let cases: [(RequestHead, Handshake.Refusal, String)] = [
            (request(method: "POST"), .method("POST"), "405"), (request(version: (1, 0)), .version, "505"),
            (request(without: "host"), .ambiguous("an HTTP/1.1 request has a host header"), "400"),
            (request(without: "upgrade"), .notAnUpgrade, "426"),
            (request(["upgrade": "h2c"]), .notAnUpgrade, "426"), (request(["connection": "close"]), .connection, "400"),
            (request(["sec-websocket-version": "8"]), .webSocketVersion, "426"),
            (request(without: "sec-websocket-version"), .webSocketVersion, "426"),
            (request(without: "sec-websocket-key"), .key, "400"),
            (request(["sec-websocket-key": "short"]), .key, "400"),
            (request(["sec-websocket-key": "dGhlIHNhbXBsZSBub25jZR=="]), .key, "400"),
            (request(["content-length": "5"]), .body, "400"), (request(["transfer-encoding": "chunked"]), .body, "400"),
            (request(["origin": "https://evil.example"]), .notAllowed(.origin("https://evil.example")), "403"),
        ]
        for (head, refusal, status) in cases {
            #expect(throws: refusal) { try Handshake().accept(head) }
            #expect(refusal.response.hasPrefix("HTTP/1.1 \(status) "))
        }
        #expect(Handshake.Refusal.webSocketVersion.response.contains("\r\nSec-WebSocket-Version: 13\r\n"))
        #expect(Handshake.Refusal.method("POST").response.contains("\r\nAllow: GET\r\n"))
    }

    @Test("Pages of the server's own origin may connect, others only if they are let in")
    func origins() throws {
        let own = request(["origin": "http://server.example.com"])
        #expect(throws: Never.self) { try Handshake().accept(own) }
        let other = request(["origin": "https://app.example"])
        #expect(throws: Handshake.Refusal.self) { try Handshake().accept(other) }
        #expect(throws: Never.self) { try Handshake(policy: .init(allowed: ["https://app.example"])).accept(other) }
        #expect(throws: Never.self) { try Handshake(policy: .init(allowed: ["*"])).accept(other) }
        #expect(throws: Handshake.Refusal.self) { try Handshake().accept(request(["origin": "null"])) }
    }

    @Test("A server for this machine alone knows its own origin by name, against DNS rebinding")
    func rebinding() {
        let handshake = Handshake(policy: .init(isLoopbackOnly: true))
        for host in ["localhost:7827", "127.0.0.1:7827", "127.1.2.3", "[::1]:7827"] {
            #expect(throws: Never.self) { try handshake.accept(request(["host": host, "origin": "http://\(host)"])) }
        }
        for host in ["evil.example:7827", "127.0.0.1.evil.example", "localhost.evil.example", "[::1:2]"] {
            #expect(throws: Handshake.Refusal.self) {
                try handshake.accept(request(["host": host, "origin": "http://\(host)"]))
            }
        }
    }

    @Test("The subprotocol is named when it is asked for, and only then")
    func subprotocol() throws {
        let asked = try Handshake().accept(request(["sec-websocket-protocol": "other, starling.v1"])).response
        #expect(asked.contains("\r\nSec-WebSocket-Protocol: starling.v1\r\n"))
        let other = try Handshake().accept(request(["sec-websocket-protocol": "other"])).response
        #expect(!other.contains("Sec-WebSocket-Protocol"))
        // The client says which it likes best.
        let both = request(["sec-websocket-protocol": "x, b, a"])
        #expect(
            try Handshake().accept(both, speaking: ["a", "b"]).response.contains("\r\nSec-WebSocket-Protocol: b\r\n"))
    }

    @Test("Heads are read as HTTP/1.1 has them")
    func heads() {
        let text = "GET /sync?x=1 HTTP/1.1\r\nHost: a\r\nX-List:  a , b,c \r\nx-list: d\r\nEmpty:\r\n\r\n"
        let head = RequestHead(Array(text.utf8))
        #expect(head?.method == "GET")
        #expect(head?.path == "/sync")
        #expect(head?.elements("x-list") == ["a", "b", "c", "d"])
        #expect(head?.values("empty") == [""])
        for bad in [
            "", "GET /\r\n\r\n", "GET / HTTP/1.1 x\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/x.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n: v\r\n\r\n", "GET / HTTP/1.1\r\na b: v\r\n\r\n",
            "GET / HTTP/1.1\r\n folded\r\n\r\n",
        ] {
            #expect(RequestHead(Array(bad.utf8)) == nil, "\(bad)")
        }
    }

    @Test("A request that others could read in another way is told from one that has one host, well-formed")
    func ambiguity() {
        func ambiguity(_ headers: (name: String, value: String)..., version: (Int, Int) = (1, 1)) -> String? {
            RequestHead(method: "GET", target: "/", version: version, headers: headers).ambiguity
        }
        for host in ["a", "a:1", "A.b-c_d:65535", "127.0.0.1", "[::1]", "[::1]:80", "a:", "xn--bcher-kva.example", ""] {
            #expect(ambiguity(("host", host)) == nil, "\(host)")
        }
        for host in [
            "localhost:1@evil", "localhost:notaport", "a b", "a/b", "a:1:2", "[::1", "[::1]x", "[]", "[evil]:1",
            "a:123456",
            "user@a", "a,b:1x", "ä", "a#b",
        ] {
            #expect(ambiguity(("host", host)) != nil, "\(host)")
        }
        for name in ["host", "origin", "sec-fetch-site"] {
            #expect(ambiguity(("host", "a"), (name, "a"), (name, "a")) != nil, "\(name)")
        }
        #expect(ambiguity() != nil && ambiguity(version: (1, 0)) == nil)
    }

    @Test("A client's request is one that a server accepts, and it checks the answer")
    func client() throws {
        let client = ClientHandshake(random: Array(0..<16))
        let request = client.request(host: "127.0.0.1:7827", path: "/sync")
        let head = try #require(RequestHead(Array(request.utf8)))
        let response = try Handshake().accept(head).response
        #expect(response.contains("\r\nSec-WebSocket-Protocol: starling.v1\r\n"))
        #expect(client.problem(inResponse: Array(response.utf8)) == nil)
        let other = ClientHandshake(random: Array(1..<17))
        #expect(other.problem(inResponse: Array(response.utf8)) != nil)
        let refusal = Handshake.Refusal.notAllowed(.origin("x")).response
        #expect(
            client.problem(inResponse: Array(refusal.utf8))
                == "the server answered 403 Forbidden: pages from x may not connect; --allow-origin admits more origins"
        )
        #expect(client.status(ofResponse: Array(refusal.utf8)) == 403)
    }

    @Test("SHA-1 and base64 are those of RFC 3174 and RFC 4648")
    func digests() {
        func hex(_ text: String) -> String {
            AcceptKey.sha1(Array(text.utf8)).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        }
        #expect(hex("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(hex("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        #expect(
            hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
                == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        #expect(hex(String(repeating: "a", count: 64)) == "0098ba824b5c16427bd7a1122a5a442a25ec644d")
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        for (text, expected) in pairs { #expect(AcceptKey.base64(Array(text.utf8)) == expected) }
    }
}
