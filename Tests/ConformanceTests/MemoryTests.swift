import Foundation
import StarlingServer
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Memories, knowledge and search, with the real server.
    struct MemoryTests {
        private func ask(_ client: RawClient, _ message: String) throws -> JSONObject {
            try client.send(#"{"id":"q",\#(message.dropFirst())"#)
            while true {
                guard case .message(let text) = try client.next() else { throw TestFailure("the connection ended") }
                let answer = try JSONObject(Array(text.utf8))
                if answer.string("id") == "q" { return answer }
            }
        }

        private func search(_ client: RawClient, _ query: String, _ more: String = "") throws -> JSONObject {
            try ask(client, #"{"type":"search","query":"\#(query)"\#(more)}"#)
        }

        private func keys(_ answer: JSONObject) -> [String] {
            (answer.array("results") ?? []).compactMap { try? JSONObject($0).string("key") }
        }

        private func put(_ client: RawClient, _ agent: String, _ key: String, _ value: String, _ more: String = "")
            throws
        {
            let answer = try ask(
                client, #"{"type":"memory.put","agent":"\#(agent)","key":"\#(key)","value":\#(value)\#(more)}"#)
            #expect(answer.bool("applied") == true, "\(answer)")
        }

        @Test(
            "What one connection has had acknowledged another finds, a thousand times of a thousand, and nothing that was deleted"
        )
        func readYourWrites() throws {
            let server = try ServerProcess()
            let writer = try RawClient.connected(server)
            let reader = try RawClient.connected(server)
            for number in 0..<1_000 {
                try put(writer, "a", "k\(number % 50)", #""needle\#(number) in a stack""#)
                let found = try search(reader, "needle\(number)")
                #expect(
                    keys(found) == ["memory:a:k\(number % 50)"] && found.bool("complete") == true, "\(number): \(found)"
                )
            }
            for number in 0..<50 {
                #expect(
                    try ask(writer, #"{"type":"memory.delete","agent":"a","key":"k\#(number)"}"#).bool("applied")
                        == true)
            }
            let gone = try search(reader, "stack")
            #expect(keys(gone).isEmpty && gone.object("searched")?.integer("memory") == 0)
        }

        @Test("Storing keeps the time of creation; a memory that is over is gone from get, list and search")
        func lives() throws {
            let server = try ServerProcess()
            let client = try RawClient.connected(server)
            try put(client, "ada", "x", "1", #","metadata":{"mine":1}"#)
            let first = try ask(client, #"{"type":"memory.get","agent":"ada","key":"x"}"#).object("metadata")
            let created = try #require(first?.object("starling")?.integer("created_at"))
            #expect(first?.integer("mine") == 1 && abs(Double(created) - Date().timeIntervalSince1970) < 60)
            try put(client, "ada", "x", #""brief""#, #","ttl":0.05"#)
            let second = try ask(client, #"{"type":"get","key":"memory:ada:x"}"#)
            if second.bool("found") == true {
                #expect(second.object("metadata")?.object("starling")?.integer("created_at") == created)
            }
            try ServerProcess.until {
                try ask(client, #"{"type":"memory.get","agent":"ada","key":"x"}"#).bool("found") == false ? true : nil
            }
            #expect(try keys(search(client, "brief")).isEmpty)
            #expect(try ask(client, #"{"type":"memory.list","agent":"ada"}"#).array("registers")?.isEmpty == true)
            let old = #","metadata":{"starling":{"created_at":5}}"#, new = #","metadata":{"starling":{"created_at":0}}"#
            _ = try ask(client, #"{"type":"broadcast","key":"memory:ada:old","value":1\#(old)}"#)
            let batch = #"{"type":"batch","writes":[{"key":"memory:ada:old","value":2\#(new)}]}"#
            #expect(try ask(client, batch).bool("applied") == true)
            let kept = try ask(client, #"{"type":"get","key":"memory:ada:old"}"#).object("metadata")
            #expect(kept?.object("starling")?.integer("created_at") == 5, "in a batch, too")
            let missed = try ask(
                client, #"{"type":"memory.put","agent":"ada","key":"x","value":1,"expect":"000000000001-0000-x"}"#)
            #expect(missed.bool("applied") == false && missed.string("reason") == "condition")
        }

        @Test(
            "What is read lives on under its version, and is not written each time; who has it is named where it is not found"
        )
        func refresh() throws {
            let server = try ServerProcess()
            let client = try RawClient.connected(server)
            try put(client, "ada", "x", "1", #","ttl":3,"refresh_on_read":true"#)
            let first = try ask(client, #"{"type":"memory.get","agent":"ada","key":"x"}"#)
            let expiry = try #require(first.integer("expires_at"))
            var reads = 0
            let last = try ServerProcess.until {
                reads += 1
                let now = try ask(client, #"{"type":"memory.get","agent":"ada","key":"x"}"#)
                return now.integer("expires_at").map { $0 > expiry } == true ? now : nil
            }
            #expect(last.string("version") == first.string("version"))
            let revisions = try #require(last.integer("revision")) - #require(first.integer("revision"))
            #expect(revisions < reads && revisions <= 2, "\(revisions) writes for \(reads) reads")
            let missing = try ask(client, #"{"type":"memory.get","agent":"bob","key":"x"}"#)
            #expect(missing.bool("found") == false && missing.array("agents")?.compactMap(JSONObject.string) == ["ada"])
        }

        @Test("The same knowledge is one, as sure as the surest says; uses are counted, and add up over a restart")
        func knowledge() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            var client = try RawClient.connected(server)
            let put = #"{"type":"knowledge.put","topic":"Merge","content":"greater wins","tags":["crdt"],"confidence":"#
            let first = try ask(client, put + "0.9}")
            let other = try RawClient.connected(server)
            try other.send(#"{"type":"hello","agent":"bob"}"#)
            let second = try ask(
                other, #"{"type":"knowledge.put","topic":"merge ","content":"greater wins","confidence":0.2}"#)
            #expect(first.bool("created") == true && second.bool("created") == false)
            let id = try #require(first.string("knowledge"))
            #expect(second.string("knowledge") == id && id.count == 28)
            for _ in 0..<5 { #expect(try keys(search(client, "greater")) == ["knowledge:\(id)"]) }
            let get = #"{"type":"knowledge.get","knowledge":"\#(id)"}"#
            #expect(try ask(client, get).integer("usage_count") == 5)
            #expect(try ask(client, get).raw("confidence").map { String(decoding: $0, as: UTF8.self) } == "0.9")
            #expect(try ask(client, get).object("value")?.array("tags")?.count == 1)
            server.terminate()
            #expect(server.wait() == 0)
            server = try ServerProcess(in: folder)
            client = try RawClient.connected(server)
            try ServerProcess.until { try ask(client, get).integer("usage_count") == 5 ? true : nil }
            #expect(try keys(search(client, "greater")) == ["knowledge:\(id)"])
            #expect(try ask(client, get).integer("usage_count") == 6)
            #expect(try keys(ask(client, #"{"type":"knowledge.list","topic":"merge "}"#)) == ["knowledge:\(id)"])
            #expect(try keys(ask(client, #"{"type":"knowledge.list","tag":"crdt"}"#)) == ["knowledge:\(id)"])
            #expect(try keys(ask(client, #"{"type":"knowledge.list","tag":"no"}"#)).isEmpty)
        }

        @Test(
            "Garbage in the index stops no write, is said, and heals; a file that is deleted is made anew at the next start"
        )
        func damage() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var server = try ServerProcess(in: folder)
            var client = try RawClient.connected(server)
            for number in 0..<300 { try put(client, "a", "k\(number)", #""before""#) }
            #expect(try keys(search(client, "before", #","limit":100"#)).count == 100)
            let path = folder.appending(path: "starling.db.search").path
            for suffix in ["", "-wal"] {
                let file = try #require(FileHandle(forWritingAtPath: path + suffix))
                try file.write(contentsOf: Data(repeating: 0x5A, count: 200_000))
                try file.close()
            }
            try put(client, "a", "new", #""afterwards""#)
            try ServerProcess.until {
                let found = try search(client, "afterwards")
                return keys(found) == ["memory:a:new"] && found.bool("complete") == true ? true : nil
            }
            #expect(try search(client, "before").object("searched")?.integer("memory") == 301)
            server.terminate()
            #expect(server.wait() == 0)
            for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
            server = try ServerProcess(in: folder)
            client = try RawClient.connected(server)
            try ServerProcess.until {
                try search(client, "before").object("searched")?.integer("memory") == 301 ? true : nil
            }
        }

        /// What each token may read, by its values.
        private static let visible = [
            "all": ["ada-open", "ada-shut", "bob-open", "bob-shut", "know-open", "know-shut"],
            "ada": ["ada-open", "ada-shut"], "part": ["ada-open", "bob-open", "know-open"], "nothing": [],
        ]

        @Test("Neither finds, counts, snippets nor names tell of what may not be read")
        func access() throws {
            let rules = try AccessFixture()
            try rules.add("all", read: ["*"], write: ["*"])
            try rules.add("ada", read: ["memory:ada:*"], write: ["memory:ada:*"])
            try rules.add("part", read: ["memory:*:open", "knowledge:open"], write: [])
            try rules.add("nothing", read: [], write: [])
            let server = try rules.start()
            let root = try rules.connect(server, "all")
            for agent in ["ada", "bob"] {
                try put(root, agent, "open", #""word value-\#(agent)-open""#)
                try put(root, agent, "shut", #""word value-\#(agent)-shut""#)
            }
            for id in ["open", "shut"] {
                let put =
                    #"{"type":"knowledge.put","knowledge":"\#(id)","topic":"t","content":"word value-know-\#(id)"}"#
                #expect(try ask(root, put).string("type") == "knowledge")
            }
            let visible = Self.visible
            for (token, values) in visible {
                let client = try rules.connect(server, token)
                var answers = try [
                    search(client, "word", #","limit":100"#), search(client, "value-"), search(client, "shut"),
                    ask(client, #"{"type":"knowledge.list"}"#),
                    ask(client, #"{"type":"memory.get","agent":"eve","key":"shut"}"#),
                    ask(client, #"{"type":"knowledge.get","knowledge":"shut"}"#),
                ].map(String.init(describing:))
                #expect(try keys(search(client, "word", #","limit":100"#)).count == values.count, "\(token)")
                let http = try RESTClient(server, token: rules.tokens[token])
                for path in [
                    "/v1/search?q=word&limit=100", "/v1/knowledge", "/v1/memory/bob/shut", "/v1/memory?agent=bob",
                ] {
                    answers.append(try http.ask("GET", path).body)
                }
                for value in visible["all"] ?? [] where !values.contains(value) {
                    #expect(!answers.contains { $0.contains("value-\(value)") }, "\(token) is shown \(value)")
                }
                if token == "ada" || token == "nothing" {
                    #expect(
                        !answers.contains { $0.contains("bob") && !$0.contains("not allowed") }, "\(token): \(answers)")
                }
                let searched = try search(client, "word").object("searched")
                let counts = ["memory", "knowledge"].map {
                    searched?.raw($0).map { String(decoding: $0, as: UTF8.self) }
                }
                #expect(
                    counts
                        == ["all": ["4", "2"], "ada": ["2", "0"], "part": ["null", "null"], "nothing": ["0", "0"]][
                            token])
            }
        }

        @Test("What is asked of others' memories, or by nobody, is refused")
        func refusals() throws {
            let rules = try AccessFixture()
            try rules.add("ada", read: ["memory:ada:*"], write: ["memory:ada:*"])
            let server = try rules.start()
            let client = try rules.connect(server, "ada")
            for message in [
                #"{"type":"memory.put","agent":"bob","key":"x","value":1}"#,
                #"{"type":"memory.get","agent":"bob","key":"open"}"#,
                #"{"type":"memory.list","agent":"bob"}"#, #"{"type":"memory.delete","agent":"bob","key":"open"}"#,
                #"{"type":"knowledge.put","topic":"t","content":"c"}"#, #"{"type":"knowledge.get","knowledge":"open"}"#,
            ] { #expect(try ask(client, message).string("code") == "forbidden", "\(message)") }
            let stranger = try RawClient.connected(server)
            #expect(try search(stranger, "word").string("code") == "unauthorized")
        }

        @Test("Neither what is found nor its score goes by what may not be read")
        func oracles() throws {
            let rules = try AccessFixture()
            try rules.add("all", read: ["*"], write: ["*"])
            try rules.add("eve", read: ["memory:eve:*"], write: ["memory:eve:*"])
            let server = try rules.start()
            let (root, eve) = (try rules.connect(server, "all"), try rules.connect(server, "eve"))
            try put(eve, "eve", "o", #""qhunt* and the salary""#)
            func asked() throws -> [[String?]] {
                try ["hunt*", "unt", "salary"].map { query in
                    (try search(eve, query).array("results") ?? []).map { result in
                        (try? JSONObject(result))?.raw("score").map { String(decoding: $0, as: UTF8.self) }
                    }
                }
            }
            let before = try asked()
            #expect(before.allSatisfy { $0.count == 1 })
            try put(root, "bob", "pw", #""hunter2xyz salary salary""#)
            try put(root, "bob", "long", "\"\(String(repeating: "word ", count: 500))\"")
            #expect(try asked() == before)
        }

        @Test("What a service looks up for a call is not counted as more messages")
        func rates() throws {
            let limited = try AccessFixture()
            try limited.add("slow", read: ["*"], write: ["*"]) {
                $0.limits = try? JSONDecoder().decode(
                    AccessFile.Limits.self, from: Data(#"{"messages_per_second":3}"#.utf8))
            }
            let server = try limited.start()
            let slow = try limited.connect(server, "slow")
            #expect(
                try search(slow, "word").string("type") == "results", "what it looks up is not counted as more messages"
            )
            // A limit for each connection is none for the server's own, which would never have an index.
            let strict = try ServerProcess(["--max-message-rate", "1"])
            #expect(try RESTClient(strict).ask("PUT", "/v1/memory/a/k", #""word""#).status == 200)
            let found = try RESTClient(strict).ask("GET", "/v1/search?q=word")
            #expect(keys(found.json) == ["memory:a:k"] && found.json.bool("complete") == true, "\(found)")
        }

        @Test("Over HTTP a memory is a resource with a version, and knowledge is found by topic")
        func http() throws {
            let server = try ServerProcess()
            let client = try RESTClient(server)
            let path = "/v1/memory/a%3Ab/auth/decision"
            let stored = try client.ask(
                "PUT", path + "?ttl=60&tag=x&tag=y&refresh_on_read=true&metadata=%7B%22m%22:1%7D", #"{"t":"words"}"#)
            #expect(stored.status == 200 && stored.tag != "")
            let got = try client.ask("GET", path)
            #expect(got.status == 200 && got.body == #"{"t":"words"}"# && got.tag == stored.tag)
            #expect(try client.ask("GET", path, nil, ["If-None-Match": got.tag]).status == 304)
            #expect(try client.ask("PUT", path, "2", ["If-Match": "\"000000000001-0000-x\""]).status == 412)
            #expect(try client.ask("PUT", path + "?tll=1", "2").status == 400)
            let others = try client.ask("GET", "/v1/memory/eve/auth/decision")
            #expect(others.status == 404 && others.json.array("agents")?.compactMap(JSONObject.string) == ["a:b"])
            let list = try client.ask("GET", "/v1/memory?agent=a:b&prefix=auth/").json.array("registers")
            #expect(list?.count == 1)
            let found = try client.ask("GET", "/v1/search?q=words&tag=x&in=memory").json
            #expect(keys(found) == ["memory:a%3Ab:auth/decision"])
            let added = try client.ask("POST", "/v1/knowledge", #"{"topic":"T","content":"c","tags":["z"]}"#)
            #expect(added.status == 201)
            #expect(try client.ask("POST", "/v1/knowledge", #"{"topic":"T","content":"c"}"#).status == 200)
            #expect(try client.ask("PUT", "/v1/knowledge/mine", #"{"topic":"T","content":"d"}"#).status == 201)
            #expect(try client.ask("GET", "/v1/knowledge/mine").json.object("value")?.string("content") == "d")
            #expect(try keys(client.ask("GET", "/v1/knowledge?topic=t&limit=1").json).count == 1)
            #expect(try client.ask("DELETE", "/v1/knowledge/mine").status == 200)
            #expect(try client.ask("GET", "/v1/knowledge/mine").status == 404)
            #expect(try client.ask("DELETE", path).status == 200)
            #expect(try client.ask("GET", path).status == 404)
            for bad in ["/v1/search", "/v1/search?q=a&limit=0", "/v1/search?q=a&in=x", "/v1/memory", "/v1/memory/a"] {
                #expect((400...404).contains(try client.ask("GET", bad).status), "\(bad)")
            }
        }

        @Test("The command line stores, finds, and says where it looked")
        func commands() throws {
            let server = try ServerProcess()
            func run(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
                try ServerProcess.run(arguments, environment: ["STARLING_URL": server.url])
            }
            #expect(
                try run("memory", "store", "auth/decision", "tokens end", "--agent", "ada", "--tag", "t").output
                    == "memory:ada:auth/decision\n")
            #expect(try run("memory", "get", "auth/decision", "--agent", "ada").output == "\"tokens end\"\n")
            let missing = try run("memory", "get", "auth/decision", "--agent", "bob")
            #expect(missing.status == 1 && missing.errors.contains("--agent ada does"))
            #expect(try run("memory", "list", "auth", "--agent", "ada").output == "auth/decision\t\"tokens end\"\n")
            let id = try run("knowledge", "add", "auth", "tokens are short", "--tag", "j", "--confidence", "0.5").output
                .dropLast()
            #expect(try run("search", "tokens", "end").output == "ada\tauth/decision\ttokens end\n")
            #expect(try run("search", "tokens", "--in", "knowledge").output == "\(id)\tauth\ttokens are short\n")
            #expect(try run("knowledge", "list", "--tag", "j").output == "\(id)\tauth\ttokens are short\n")
            #expect(try run("knowledge", "show", String(id)).output.contains("confidence\t0.5\nfound\t1\n"))
            let nothing = try run("search", "zebra")
            #expect(nothing.status == 1 && nothing.errors.contains("nothing found in 1 of memory and 1 of knowledge"))
            #expect(try run("memory", "delete", "auth/decision", "--agent", "ada").status == 0)
            #expect(try run("memory", "search", "tokens").status == 1)
            #expect(try run("search", "-short").status == 0)
            #expect(try run("memory", "store", "k", "1", "--agent", "ada", "--if-absent").status == 0)
            #expect(try run("memory", "store", "k", "2", "--agent", "ada", "--if-absent").status == 1)
            #expect(try run("knowledge", "delete", String(id)).status == 0)
            #expect(try run("search", "tokens").status == 1)
            #expect(try run("memory", "store", "x", "1").errors.contains("--agent says who remembers it"))
        }

        @Test("Under encryption nothing of a value is in any file, and everything is found after a restart")
        func encrypted() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let key = folder.appending(path: "key").path
            FileManager.default.createFile(
                atPath: key,
                contents: Data(
                    "k1 \(Data((0..<32).map { _ in UInt8.random(in: 0...255) }).base64EncodedString())\n".utf8),
                attributes: [.posixPermissions: 0o600])
            // One from before, with a value in it.
            try Data("unmistakable".utf8).write(to: folder.appending(path: "starling.db.search"))
            for _ in 0..<2 {
                let server = try ServerProcess(in: folder, ["--encryption-key-file", key])
                let client = try RawClient.connected(server)
                try put(client, "a", "k", #""unmistakable""#)
                #expect(try keys(search(client, "unmistakable")) == ["memory:a:k"])
                server.terminate()
                #expect(server.wait() == 0)
                for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
                    let data = try Data(contentsOf: folder.appending(path: file))
                    #expect(data.range(of: Data("unmistakable".utf8)) == nil, "\(file)")
                }
            }
        }
    }
}
