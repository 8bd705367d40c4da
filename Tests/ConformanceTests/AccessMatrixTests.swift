import Foundation
import Registers
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// Tokens × patterns × every message and route, generated: each is shown what its patterns say, and nothing else comes
    /// through by any answer.
    ///
    /// Every key has a value and a writer of its own, so that whatever of it is in an answer can be told by its text.
    struct AccessMatrixTests {
        struct Token {
            var id: String
            var read: [String]
            var write: [String]

            func mayRead(_ key: String) -> Bool { Self.matches(read, key) }
            func mayWrite(_ key: String) -> Bool { Self.matches(write, key) }

            private static func matches(_ patterns: [String], _ key: String) -> Bool {
                guard let key = try? Key(key) else { return false }
                return patterns.contains { (try? Pattern($0))?.matches(key) == true }
            }
        }

        /// In segments, beginnings of one another, and with characters of the grammar.
        static let keys = [
            "team-a:task:1", "team-a:task:2:status", "team-a:secret", "team-ab:task:1", "team-b:task:1",
            "team-b:secret",
            "team-b:public", "team-a:public", "config", "config:db", "a*b:c", "ü:1", "lock:1", "lock:2",
        ]
        static let tokens = [
            Token(id: "all", read: ["*"], write: ["*"]),
            Token(id: "nothing", read: [], write: []),
            Token(id: "reader", read: ["team-a:*"], write: []),
            Token(id: "writer", read: [], write: ["team-a:*", "lock:*"]),
            Token(id: "exact", read: ["config", "lock:1"], write: ["config", "lock:2"]),
            Token(id: "general", read: ["team-*:public", "?:1"], write: ["**:task:?"]),
            Token(id: "escaped", read: ["a\\*b:*"], write: ["a\\*b:*"]),
            Token(id: "mixed", read: ["team-b:*", "config:*", "**secret"], write: ["team-b:task:*", "lock:1"]),
        ]
        static let patterns = [
            "*", "team-a:*", "**secret", "team-*:public", "config", "lock:1", "?:*", "nowhere:*",
        ]

        private static func index(_ key: String) -> Int { keys.firstIndex(of: key) ?? 0 }

        /// What tells that something of `key` was shown: its value or its writer, or its name where the client did not
        /// say that itself.
        private static func traces(of key: String, named: Bool) -> [String] {
            let number = index(key)
            return ["value-\(number)-", "writer-\(number)-"] + (named ? [] : ["\"\(key)\""])
        }

        let access: AccessFixture
        let server: ServerProcess

        init() throws {
            access = try AccessFixture()
            for token in Self.tokens {
                try access.add(token.id, read: token.read, write: token.write) { $0.monitor = token.id == "all" }
            }
            server = try access.start()
            let client = try access.connect(server, "all")
            for (number, key) in Self.keys.enumerated() {
                try client.send(#"{"type":"hello","agent":"writer-\#(number)-"}"#)
                _ = try client.receive(type: "welcome")
                let claims = key.hasPrefix("lock:")
                try client.send(
                    #"{"type":"\#(claims ? "claim" : "broadcast")","id":1,"key":"\#(key)","value":"value-\#(number)-"\#(claims ? #","ttl":600"# : "")}"#
                )
                _ = try client.receive(type: claims ? "claimed" : "ack")
            }
        }

        /// Sends a message and a ping, and gives all that comes before the pong, as text.
        private func ask(
            _ client: RawClient, _ message: String, until end: String = #""type":"pong","id":"end""#
        ) throws -> [String] {
            try client.send(message)
            if end.contains("pong") { try client.send(#"{"type":"ping","id":"end"}"#) }
            var answers: [String] = []
            while true {
                guard case .message(let text) = try client.next() else { throw TestFailure("the connection ended") }
                if text.contains(end) { return answers }
                answers.append(text)
                if text.contains(#""type":"error""#), !end.contains("pong") { return answers }
            }
        }

        func expectNoTrace(
            of hidden: [String], in answers: [String], named: String? = nil, _ comment: String
        ) {
            for key in hidden {
                for trace in Self.traces(of: key, named: key == named) {
                    #expect(!answers.contains { $0.contains(trace) }, "\(comment) shows \(trace): \(answers)")
                }
            }
        }

        private static func codes(_ answers: [String]) -> [String] {
            answers.compactMap { try? JSONObject(Array($0.utf8)) }.compactMap { $0.string("code") }
        }

        private static func keys(_ answers: [String], type: String) -> Set<String> {
            Set(
                answers.compactMap { try? JSONObject(Array($0.utf8)) }.filter { $0.string("type") == type }
                    .compactMap { $0.string("key") })
        }

        @Test("Snapshots, live updates, lists and digests show what a token may read of what it asks for")
        func patterns() throws {
            let root = try access.connect(server, "all")
            for token in Self.tokens {
                let hidden = Self.keys.filter { !token.mayRead($0) }
                for pattern in Self.patterns {
                    let asked = try Pattern(pattern)
                    let expected = Set(try Self.keys.filter { try asked.matches(Key($0)) && token.mayRead($0) })
                    let place = "\(token.id) \(pattern)"
                    let client = try access.connect(server, token.id)
                    let snapshot = try ask(
                        client, #"{"type":"subscribe","id":"s","pattern":\#(Self.quoted(pattern)),"cursors":true}"#,
                        until: #""type":"synced""#)
                    #expect(Self.keys(snapshot, type: "update") == expected, "\(place)")
                    expectNoTrace(of: hidden, in: snapshot, named: pattern, "the snapshot of \(place)")
                    // Live: each key is written once more.
                    for (number, key) in Self.keys.enumerated() where !key.hasPrefix("lock:") {
                        try root.send(
                            #"{"type":"broadcast","id":1,"key":"\#(key)","value":"value-\#(number)-\#(token.id)"}"#)
                        _ = try root.receive(type: "ack")
                    }
                    let live = try ask(client, #"{"type":"list","id":1,"limit":1}"#).filter {
                        !$0.contains("registers")
                    }
                    #expect(
                        Self.keys(live, type: "update") == expected.filter { !$0.hasPrefix("lock:") }, "live \(place)")
                    expectNoTrace(of: hidden, in: live, named: pattern, "live \(place)")
                    for type in ["list", "digest"] {
                        var after = ""
                        var seen = 0
                        for _ in 0..<20 {
                            let answers = try ask(
                                client,
                                #"{"type":"\#(type)","id":1,"limit":1,"pattern":\#(Self.quoted(pattern))\#(after)}"#)
                            expectNoTrace(of: hidden, in: answers, named: pattern, "\(type) \(place)")
                            guard let answer = try answers.first.map({ try JSONObject(Array($0.utf8)) }),
                                answer.string("type") != "error"
                            else { break }
                            seen += answer.array("registers")?.count ?? Int(answer.integer("count") ?? 0)
                            guard let next = answer.string("next") ?? answer.string("last"),
                                answer.bool("complete") != true
                            else { break }
                            after = #","after":\#(Self.quoted(next))"#
                        }
                        #expect(seen == expected.count, "\(type) \(place)")
                    }
                }
            }
        }

        @Test("No answer about a key shows anything of it to a token that may not read it")
        func keys() throws {
            for token in Self.tokens {
                let client = try access.connect(server, token.id)
                for key in Self.keys {
                    let hidden = Self.keys.filter { !token.mayRead($0) }
                    let name = "\(token.id) \(key)"
                    let read = try ask(client, #"{"type":"get","id":1,"key":"\#(key)"}"#)
                    #expect(Self.codes(read) == (token.mayRead(key) ? [] : ["forbidden"]), "get \(name)")
                    expectNoTrace(of: hidden, in: read, named: key, "get \(name)")
                    for message in Self.writes(of: key) {
                        let answers = try ask(client, message)
                        if !token.mayWrite(key) {
                            #expect(Self.codes(answers) == ["forbidden"], "\(message) by \(name)")
                        }
                        if token.mayWrite(key) {
                            #expect(Self.codes(answers) != ["forbidden"], "\(message) by \(name)")
                        }
                        expectNoTrace(of: hidden, in: answers, named: key, "\(message) by \(name)")
                    }
                }
            }
        }

        /// Writes that change nothing, so that what is there stays to be shown.
        private static func writes(of key: String) -> [String] {
            let old = "000000000001-0000-x"
            return [
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":0,"version":"\#(old)"}"#,
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":0,"timestamp":1}"#,
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":0,"expect":null}"#,
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":0,"expect":"\#(old)"}"#,
                #"{"type":"delete","id":1,"key":"\#(key)","timestamp":1}"#,
                #"{"type":"delete","id":1,"key":"\#(key)","expect":"\#(old)"}"#,
                #"{"type":"broadcast","id":1,"key":"\#(key)","value":0,"fence":{"key":"\#(key)","token":1},"timestamp":1}"#,
                #"{"type":"touch","id":1,"key":"\#(key)","ttl":0.001}"#,
                #"{"type":"batch","id":1,"writes":[{"key":"\#(key)","value":0,"expect":null}]}"#,
                #"{"type":"batch","id":1,"writes":[{"key":"\#(key)","delete":true,"expect":"\#(old)"}]}"#,
                #"{"type":"batch","id":1,"writes":[{"key":"\#(key)","release":1}]}"#,
                #"{"type":"claim","id":1,"key":"\#(key)","ttl":1}"#,
                #"{"type":"renew","id":1,"key":"\#(key)","fence":1}"#,
                #"{"type":"release","id":1,"key":"\#(key)","fence":1}"#,
            ]
        }

        @Test(
            "One key of a batch that may not be written forbids all, and what is required must be one to be read or written"
        )
        func batches() throws {
            for token in Self.tokens {
                let client = try access.connect(server, token.id)
                let hidden = Self.keys.filter { !token.mayRead($0) }
                for first in ["team-a:new", "config:new", "a*b:new", "team-b:task:9"] {
                    for key in Self.keys {
                        let name = "\(token.id) \(first) \(key)"
                        // Nothing is written: that another version is in place is what is found out.
                        let old = "000000000001-0000-x"
                        let write =
                            #"{"type":"batch","id":1,"writes":[{"key":"\#(first)","value":0},{"key":"\#(key)","value":0,"expect":"\#(old)"}]}"#
                        let written = try ask(client, write)
                        let mayWrite = token.mayWrite(first) && token.mayWrite(key)
                        #expect(Self.codes(written) == (mayWrite ? [] : ["forbidden"]), "\(name)")
                        expectNoTrace(of: hidden, in: written, named: key, "a batch by \(name)")
                        let state = first == "config:new" ? #""fence":1"# : #""version":"\#(old)""#
                        let require =
                            #"{"type":"batch","id":1,"require":[{"key":"\#(key)",\#(state)}],"writes":[{"key":"\#(first)","value":0}]}"#
                        let required = try ask(client, require)
                        let mayAsk = token.mayWrite(first) && (token.mayWrite(key) || token.mayRead(key))
                        #expect(Self.codes(required) == (mayAsk ? [] : ["forbidden"]), "\(name)")
                        expectNoTrace(of: hidden, in: required, named: key, "a requirement by \(name)")
                    }
                    let get = try ask(try access.connect(server, "all"), #"{"type":"get","id":1,"key":"\#(first)"}"#)
                    #expect(get.first?.contains(#""found":false"#) == true, "\(first)")
                }
            }
        }

        @Test("Without credentials, and with wrong ones, every message but ping is refused")
        func unauthorized() throws {
            for text in [
                "", #"{"type":"hello","id":1,"token":"stl.all.guess"}"#, #"{"type":"hello","id":1,"token":"a.b.c"}"#,
            ] {
                let client = try RawClient.connected(server)
                if !text.isEmpty { #expect(try Self.codes(ask(client, text)) == ["unauthorized"]) }
                let messages =
                    Self.writes(of: "config") + [
                        #"{"type":"hello","id":1,"agent":"a"}"#, #"{"type":"get","id":1,"key":"config"}"#,
                        #"{"type":"list","id":1}"#, #"{"type":"digest","id":1}"#,
                        #"{"type":"subscribe","id":1,"pattern":"*"}"#,
                        #"{"type":"broadcast","id":1,"key":"t","value":1,"transient":true}"#,
                    ]
                for message in messages {
                    let answers = try ask(client, message)
                    #expect(Self.codes(answers) == ["unauthorized"], "\(message)")
                    expectNoTrace(of: Self.keys, in: answers, named: "config", message)
                }
            }
        }

        @Test("Every route of HTTP says the same to everyone, but what is for monitoring to those who may monitor")
        func routes() throws {
            for id in Self.tokens.map(\.id) + ["", "wrong"] {
                for route in ["/", "/healthz", "/readyz", "/metrics", "/nowhere"] {
                    let client = try RawClient(port: server.port)
                    let token = id == "wrong" ? "stl.all.guess" : access.tokens[id]
                    // As it comes through a proxy that nobody has said to trust: not from this machine.
                    let header = token.map { "Authorization: Bearer \($0)\r\n" } ?? "X-Forwarded-For: 192.0.2.1\r\n"
                    try client.send(
                        raw: Array("GET \(route) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(header)\r\n".utf8))
                    let answer = try client.readAll()
                    let status = String(answer.dropFirst(9).prefix(3))
                    let expected = route == "/nowhere" ? "404" : route == "/metrics" && id != "all" ? "403" : "200"
                    #expect(status == expected, "\(id) \(route)")
                    expectNoTrace(of: Self.keys, in: [answer], "\(id) \(route)")
                }
            }
        }

        private static func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\") + "\""
        }
    }
}
