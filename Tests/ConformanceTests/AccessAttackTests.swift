import Access
import Foundation
import JWTKit
import Registers
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Ways around the rules that once worked.
    struct AccessAttackTests {
        private static func issuer(_ access: AccessFixture, _ change: (inout AccessFile.Issuer) -> Void = { _ in })
            async throws
            -> JWTKeyCollection
        {
            let secret = String(repeating: "s", count: 32)
            try Data(secret.utf8).write(to: access.folder.appending(path: "secret"))
            var issuer = try AccessFile(
                Data(
                    #"""
                    {"issuers":[{"id":"i","issuer":"https://id.example","audience":"starling","secret_file":"secret",
                      "read":["agent:${sub}:*"],"write":["agent:${sub}:*"]}]}
                    """#.utf8)
            ).issuers![0]
            change(&issuer)
            access.file.issuers = [issuer]
            try access.save()
            return await JWTKeyCollection().add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
        }

        private static func code(_ client: RawClient, _ message: String) throws -> String? {
            try client.send(message)
            return try client.receive().string("code")
        }

        @Test(
            "A subject that looks like a wildcard, alone or with an accent, is only a name",
            arguments: ["*", "*\u{301}", "*\u{FE0F}\u{20E3}", "?", "a\\"])
        func subjects(subject: String) async throws {
            let access = try AccessFixture()
            let keys = try await Self.issuer(access)
            let server = try access.start()
            let token = try await keys.sign(TokenIssuerTests.Claims(sub: subject))
            let client = try RawClient.connected(server, token: token)
            #expect(try Self.code(client, #"{"type":"hello","id":1,"agent":"ceo"}"#) == "forbidden")
            for other in ["agent:jose:1", "agent:jose\u{301}:1", "agent:x\u{FE0F}\u{20E3}:1"] {
                #expect(try Self.code(client, #"{"type":"get","id":1,"key":"\#(other)"}"#) == "forbidden", "\(other)")
            }
        }

        @Test("Credentials take effect in their turn: what waits before them is judged and named without them")
        func turns() throws {
            let access = try AccessFixture()
            access.file.anonymous = .init(read: ["public:*"], write: ["lock:*"])
            try access.add("bob", read: ["*"], write: ["agent:bob:*"]) { $0.agent = "bob" }
            let server = try access.start()
            for _ in 0..<10 {
                let client = try RawClient.connected(server)
                try client.send(
                    #"{"type":"list","id":1,"pattern":"public:*"}"#, #"{"type":"hello","id":2,"agent":"ceo"}"#,
                    #"{"type":"hello","id":3,"token":"\#(access.tokens["bob"] ?? "")"}"#,
                    #"{"type":"broadcast","id":4,"key":"agent:bob:1","value":1}"#)
                let answers = try (0..<4).map { _ in try client.receive() }
                #expect(answers.map { $0.integer("id") } == [1, 2, 3, 4])
                #expect(answers[1].string("agent") == "ceo" && answers[2].string("agent") == "bob")
                #expect(answers[3].string("version")?.hasSuffix("-bob") == true)
            }
            // A claim on its way is in use as much as one that is held.
            let client = try RawClient.connected(server)
            try client.send(
                #"{"type":"list","id":1,"pattern":"public:*"}"#,
                #"{"type":"claim","id":2,"key":"lock:1","until":"disconnect"}"#,
                #"{"type":"hello","id":3,"token":"\#(access.tokens["bob"] ?? "")"}"#)
            let answers = try (0..<3).map { _ in try client.receive() }
            #expect(answers[1].string("type") == "claimed" && answers[2].string("code") == "forbidden")
        }

        @Test("Who was expelled while closing is sent nothing more")
        func closing() throws {
            let access = try AccessFixture()
            try access.add("t", read: ["*"], write: ["*"])
            try access.add("root", read: ["*"], write: ["*"])
            let server = try access.start(["--drain-timeout", "60", "--stall-timeout", "600"])
            let root = try access.connect(server, "root")
            let value = String(repeating: "x", count: 500_000)
            for number in 0..<40 {
                try root.send(#"{"type":"broadcast","id":1,"key":"k:\#(number)","value":"\#(value)"}"#)
                _ = try root.receive(type: "ack")
            }
            let client = try RawClient(port: server.port, receiveBuffer: 4_096)
            try client.shakeHands(extra: "Authorization: Bearer \(access.tokens["t"] ?? "")\r\n")
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"}"#)
            _ = try client.receive(type: "subscribed")
            try client.sendClose()
            try access.revoke("t")
            // The server lets go of it while it has read next to nothing.
            try ServerProcess.until {
                try root.send(#"{"type":"ping"}"#)
                _ = try root.receive(type: "pong")
                let page = try RawClient(port: server.port)
                try page.send(raw: Array("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8))
                return try page.readAll().contains("starling_connections 1\n") ? true : nil
            }
            var count = 0
            while case .message = try client.next() { count += 1 }
            #expect(count < 30, "\(count) of 40 values came")
        }

        @Test("A list goes on behind keys that may not be read, and names none of them")
        func gaps() throws {
            let access = try AccessFixture()
            try access.add("root", read: ["*"], write: ["*"])
            try access.add("t", read: ["**:pub"], write: [])
            let server = try access.start()
            let root = try access.connect(server, "root")
            let keys = (0..<300).map { "k:\(1_000 + $0)" + ($0 % 100 == 50 ? ":pub" : "") }
            for key in keys { try root.send(#"{"type":"broadcast","key":"\#(key)","value":1}"#) }
            try root.send(#"{"type":"broadcast","id":1,"key":"z:pub","value":1}"#)
            _ = try root.receive(type: "ack")
            let client = try access.connect(server, "t")
            for type in ["list", "digest"] {
                var seen: Int64 = 0
                var after = ""
                for _ in 0..<10 {
                    try client.send(#"{"type":"\#(type)","id":1,"limit":1\#(after)}"#)
                    let answer = try client.receive(type: type == "list" ? "registers" : "digest")
                    seen += answer.integer("count") ?? Int64(answer.array("registers")?.count ?? 0)
                    guard let next = answer.string("next") ?? answer.string("last"), answer.bool("complete") != true
                    else { break }
                    #expect(next.hasSuffix(":pub"))
                    after = #","after":"\#(next)""#
                }
                #expect(seen == 4, "\(type)")
            }
        }

        @Test("Limits that would count nothing are refused, and the greatest ones work")
        func limits() throws {
            for limits in [
                #"{"messages_per_second":0}"#, #"{"messages_per_second":-1}"#, #"{"bytes_per_second":2000000000000}"#,
                #"{"keys":-1}"#,
            ] {
                let access = try AccessFixture()
                try access.add("t", read: ["*"], write: ["*"]) {
                    $0.limits = try? JSONDecoder().decode(AccessFile.Limits.self, from: Data(limits.utf8))
                }
                let (status, _, errors) = try ServerProcess.run(
                    [
                        "serve", "--port", "0", "--data", access.folder.appending(path: "x.db").path, "--access",
                        access.path,
                    ])
                #expect(status == 70 && errors.contains("it must be from"), "\(errors)")
            }
            let server = try ServerProcess(["--max-byte-rate", "1099511627776", "--max-message-rate", "1000000000"])
            #expect(try RawClient.connected(server).code(#"{"type":"get","id":1,"key":"a"}"#) == nil)
        }

        @Test("An issuer's limits are its subject's, however often it says hello")
        func subjectLimits() async throws {
            let access = try AccessFixture()
            let keys = try await Self.issuer(access) {
                $0.limits = try? JSONDecoder().decode(
                    AccessFile.Limits.self, from: Data(#"{"messages_per_second":5}"#.utf8))
            }
            let server = try access.start()
            let token = try await keys.sign(TokenIssuerTests.Claims())
            let clients = try (0..<3).map { _ in try RawClient.connected(server, token: token) }
            let clock = ContinuousClock()
            let start = clock.now
            for client in clients { for _ in 0..<20 { try client.send(#"{"type":"ping"}"#) } }
            let answers = try clients.flatMap { client in try (0..<20).map { _ in try client.receive().string("code") }
            }
            // However slow the machine is: a bucket of five, and five a second; three buckets would let through thrice that.
            let elapsed = (clock.now - start) / .seconds(1)
            #expect(Double(answers.count { $0 != "rate_limited" }) <= 5 + 5 * (elapsed + 1))
        }

        @Test("Reading the rules again gives nobody back what is used up of a limit, unless the limit is another")
        func reloadedLimits() async throws {
            let access = try AccessFixture()
            let limits = { (rate: Int) in
                try? JSONDecoder().decode(AccessFile.Limits.self, from: Data(#"{"messages_per_second":\#(rate)}"#.utf8))
            }
            let keys = try await Self.issuer(access) { $0.limits = limits(2) }
            let control = try AccessControl(path: access.path)
            let token = try await keys.sign(TokenIssuerTests.Claims())
            let grant = {
                try await withCheckedContinuation { continuation in
                    control.check(Credential(token)) { continuation.resume(returning: $0) }
                }.get()
            }
            let now: WallTime = 1_800_000_000_000
            let before = try await grant()
            #expect([before.take(bytes: 1, now: now), before.take(bytes: 1, now: now)] == [nil, nil])
            try control.reload()
            let after = try await grant()
            #expect(after !== before && after.take(bytes: 1, now: now) == 500)
            access.file.issuers?[0].limits = limits(3)
            try access.save()
            try control.reload()
            #expect(try await grant().take(bytes: 1, now: now) == nil)
        }

        @Test("A release tells a writer nothing of who wrote the key")
        func release() throws {
            let access = try AccessFixture()
            try access.add("w", read: [], write: ["inbox:*"])
            try access.add("root", read: ["*"], write: ["*"]) { $0.agent = "alice" }
            let server = try access.start()
            let (writer, root) = (try access.connect(server, "w"), try access.connect(server, "root"))
            try writer.send(#"{"type":"claim","id":1,"key":"inbox:1","ttl":60}"#)
            let fence = try writer.receive(type: "claimed").integer("fence") ?? 0
            #expect(try Self.code(writer, #"{"type":"release","id":1,"key":"inbox:2","fence":0}"#) == "bad_message")
            try writer.send(#"{"type":"release","id":1,"key":"inbox:1","fence":\#(fence)}"#)
            _ = try writer.receive(type: "released")
            try root.send(#"{"type":"broadcast","id":1,"key":"inbox:1","value":1}"#)
            _ = try root.receive(type: "ack")
            try writer.send(#"{"type":"release","id":1,"key":"inbox:1","fence":\#(fence)}"#)
            let released = try writer.receive(type: "released")
            #expect(released.string("version") == nil && released.integer("revision") == nil)
        }

        @Test(
            "What is for this machine is not shown to those who came by another, or by a name that was made to lead here"
        )
        func monitoring() throws {
            let server = try ServerProcess(["--trust-proxy", "127.0.0.1"])
            func status(_ headers: String, host: String = "localhost") throws -> String {
                let client = try RawClient(port: server.port)
                try client.send(
                    raw: Array("GET /metrics HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\(headers)\r\n".utf8))
                return String(try client.readAll().dropFirst(9).prefix(3))
            }
            #expect(try status("") == "200")
            #expect(try status("X-Forwarded-For: 127.0.0.1\r\n") == "200")
            for header in ["192.0.2.1", "unknown", "unix:", ",", "127.0.0.1, 192.0.2.1"] {
                #expect(try status("X-Forwarded-For: \(header)\r\n") == "403", "\(header)")
                #expect(try status("X-Forwarded-For: \(header)\r\nAuthorization: Bearer x\r\n") == "403", "\(header)")
            }
            #expect(try status("Forwarded: for=192.0.2.1\r\n") == "403")
            #expect(try status("", host: "evil.example") == "421")
        }

        @Test("Tokens made at the same time are all in the file, which stays where a link led and whose it was")
        func concurrent() throws {
            let access = try AccessFixture()
            try access.add("first", read: ["*"], write: [])
            let link = access.folder.appending(path: "link.json").path
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: access.path)
            let (status, output, errors) = try ServerProcess.run(
                ["xargs", "-P", "6", "-I{}", ServerProcess.binary.path, "token", "create", "t{}", "--access", link],
                program: URL(filePath: "/usr/bin/env"), input: "0\n1\n2\n3\n4\n5\n")
            #expect(status == 0 && output.split(separator: "\n").count == 6, "\(errors)")
            let file = try AccessFile(Data(contentsOf: URL(filePath: access.path)))
            #expect(Set(file.tokens?.map(\.id) ?? []) == Set(["first"] + (0..<6).map { "t\($0)" }))
            #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == access.path)
        }
    }
}

extension RawClient {
    fileprivate func code(_ message: String) throws -> String? {
        try send(message)
        return try receive().string("code")
    }
}
