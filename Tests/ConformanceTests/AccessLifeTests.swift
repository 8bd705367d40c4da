import Foundation
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Grants that change, end or are renewed while their bearers are connected or away.
    struct AccessLifeTests {
        private static func subscribe(_ client: RawClient, since: String? = nil) throws -> (
            cursor: String, keys: [String]
        ) {
            let resume = since.map { #","since":"\#($0)""# } ?? ""
            try client.send(#"{"type":"subscribe","id":"s","pattern":"*"\#(resume)}"#)
            var keys: [String] = []
            while true {
                let message = try client.receive()
                if let key = message.string("key") { keys.append(key) }
                if message.string("type") == "synced" { return (message.string("cursor") ?? "", keys) }
            }
        }

        private static func write(_ client: RawClient, _ keys: String...) throws {
            for key in keys {
                try client.send(#"{"type":"broadcast","id":1,"key":"\#(key)","value":1}"#)
                _ = try client.receive(type: "ack")
            }
        }

        /// What a connection gets up to its end.
        private static func rest(_ client: RawClient) throws -> [String] {
            var texts: [String] = []
            while true {
                switch try client.next() {
                case .message(let text): texts.append(text)
                case .close, .end: return texts
                case .ping, .pong: continue
                }
            }
        }

        @Test("A revoked token ends its connections with the reason, and only those; what they hold ends with them")
        func revoked() throws {
            let access = try AccessFixture()
            try access.add("gone", read: ["*"], write: ["*"])
            try access.add("stays", read: ["*"], write: ["*"])
            let server = try access.start()
            let (gone, stays) = (try access.connect(server, "gone"), try access.connect(server, "stays"))
            try gone.send(#"{"type":"broadcast","id":1,"key":"agent:1","value":1,"until":"disconnect"}"#)
            _ = try gone.receive(type: "ack")
            _ = try Self.subscribe(stays)
            try access.revoke("gone")
            let last = try Self.rest(gone).last ?? ""
            #expect(last.contains(#""type":"bye","code":"access_changed""#) && last.contains("revoked"), "\(last)")
            // A change made just before it subscribed may come once more.
            while try stays.receive(type: "update").bool("deleted") != true {}
            try Self.write(stays, "a")
            // Not even a hello gets it back.
            let again = try RawClient(port: server.port)
            #expect(throws: TestFailure.self) {
                try again.shakeHands(extra: "Authorization: Bearer \(access.tokens["gone"] ?? "")\r\n")
            }
        }

        @Test(
            "After its rule narrows or widens, a client that resumes gets what is granted then, in the place of what was"
        )
        func changed() throws {
            let access = try AccessFixture()
            try access.add("root", read: ["*"], write: ["*"])
            try access.add("t", read: ["a:*", "b:*"], write: [])
            let server = try access.start()
            let root = try access.connect(server, "root")
            try Self.write(root, "a:1", "b:1", "c:1")
            var client = try access.connect(server, "t")
            var (cursor, keys) = try Self.subscribe(client)
            #expect(keys == ["a:1", "b:1"])
            for (read, expected) in [
                (["a:*"], ["a:1"]), (["a:*", "c:*"], ["a:1", "c:1"]), (["*"], ["a:1", "b:1", "c:1"]),
            ] {
                try access.change("t") { $0.read = read }
                #expect(try Self.rest(client).last?.contains("access_changed") == true)
                client = try access.connect(server, "t")
                (cursor, keys) = try Self.subscribe(client, since: cursor)
                #expect(keys == expected, "a snapshot of what is granted now")
                try Self.write(root, "b:1", "a:1", "c:1")
                let live = try expected.map { _ in try client.receive(type: "update").string("key") }
                #expect(Set(live) == Set(expected))
            }
            // What has not changed goes on.
            client = try access.connect(server, "t")
            try Self.write(root, "z")
            #expect(try Self.subscribe(client, since: cursor).keys.count <= 4)
        }

        @Test("A token ends when its time is over, also in the middle of a connection")
        func expires() throws {
            let access = try AccessFixture()
            let end = Date(timeIntervalSinceNow: 3)
            try access.add("short", read: ["*"], write: ["*"]) { $0.expires = end.ISO8601Format() }
            let server = try access.start()
            let client = try access.connect(server, "short")
            let last = try Self.rest(client).last ?? ""
            #expect(last.contains(#""code":"access_expired""#) && !last.contains("retry_after_ms"), "\(last)")
            let again = try RawClient(port: server.port)
            try again.send(
                raw: RawClient.handshake(extra: "Authorization: Bearer \(access.tokens["short"] ?? "")\r\n"))
            #expect(try again.readHead().contains("401 Unauthorized"))
        }

        @Test("A file that cannot be used changes nothing, and is said in the log")
        func damaged() throws {
            let access = try AccessFixture()
            try access.add("t", read: ["*"], write: ["*"])
            let server = try access.start()
            let client = try access.connect(server, "t")
            for (number, text) in ["{", #"{"tokens":[{"id":"t","sha256":"x"}]}"#, #"{"tokens":[],"tokenz":[]}"#]
                .enumerated()
            {
                try text.write(toFile: access.path, atomically: true, encoding: .utf8)
                try ServerProcess.until {
                    let log = try String(contentsOf: server.folder.appending(path: "server.log"), encoding: .utf8)
                    return log.components(separatedBy: "stay as they were").count > number + 1 ? true : nil
                }
                try Self.write(client, "a")
            }
        }

        @Test("Someone without credentials gets what the rules give to everybody, and more after a hello")
        func anonymous() throws {
            let access = try AccessFixture()
            access.file.anonymous = .init(read: ["public:*"])
            try access.add("t", read: ["*"], write: ["*"]) { $0.agent = "tess" }
            let server = try access.start()
            let client = try RawClient.connected(server)
            try client.send(#"{"type":"broadcast","id":1,"key":"public:1","value":1}"#)
            #expect(try client.receive(type: "error").string("code") == "forbidden")
            try client.send(#"{"type":"hello","id":2,"token":"\#(access.tokens["t"] ?? "")"}"#)
            #expect(try client.receive(type: "welcome").string("agent") == "tess")
            try Self.write(client, "public:1", "private:1")
            try client.send(#"{"type":"hello","id":3,"agent":"eve"}"#)
            #expect(try client.receive(type: "error").string("code") == "forbidden")
            try client.send(#"{"type":"broadcast","id":4,"key":"x","value":1,"version":"0123456789ab-0000-eve"}"#)
            #expect(try client.receive(type: "error").string("code") == "forbidden")
            let other = try RawClient.connected(server)
            #expect(try Self.subscribe(other).keys == ["public:1"])
            // With what it has subscribed to, other credentials would have to start anew.
            try other.send(#"{"type":"hello","id":5,"token":"\#(access.tokens["t"] ?? "")"}"#)
            #expect(try other.receive(type: "error").string("code") == "forbidden")
        }
    }
}
