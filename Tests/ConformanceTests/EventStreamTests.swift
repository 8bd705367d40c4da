import Foundation
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Changes as server-sent events, on the real server.
    struct EventStreamTests {
        private let server: ServerProcess
        private let client: RESTClient

        init() throws {
            server = try ServerProcess()
            client = try RESTClient(server)
        }

        private func stream(
            _ query: String, since: String? = nil, to server: ServerProcess? = nil, token: String? = nil,
            receiveBuffer: Int32? = nil
        ) throws -> RESTClient {
            let stream = try RESTClient(server ?? self.server, token: token, receiveBuffer: receiveBuffer)
            try stream.send("GET", "/v1/events?\(query)", nil, since.map { ["Last-Event-ID": $0] } ?? [:])
            let answer = try stream.answer(hasBody: false)
            guard answer.status == 200, answer.headers["content-type"] == "text/event-stream" else {
                throw TestFailure("no stream: \(answer)")
            }
            return stream
        }

        @Test("A stream tells what there is, and then each change; a value with line breaks is one")
        func changes() throws {
            _ = try client.ask("PUT", "/v1/keys/a:1", "{\n\"x\": 1,\r\n\"y\": [\r2]}")
            let stream = try stream("pattern=a:*&pattern=b:*")
            #expect(try stream.event()?.json.string("pattern") == "a:*")
            let first = try stream.event("update")
            #expect(first.json.object("value")?.integer("x") == 1 && first.json.object("value")?.raw("y") != nil)
            _ = try client.ask("PUT", "/v1/keys/b:1", "2")
            _ = try client.ask("PUT", "/v1/keys/c:1", "3")
            _ = try client.ask("DELETE", "/v1/keys/a:1")
            var told: [String] = []
            while told.count < 2 { told.append(try stream.event("update").json.string("key") ?? "") }
            #expect(Set(told) == ["b:1", "a:1"])
        }

        @Test(
            "Who comes back with the last id misses nothing, deletes too, and is told nothing twice but what came behind it"
        )
        func resumption() throws {
            var id: String?
            var seen: [String: String] = [:]
            for round in 0..<8 {
                let stream = try stream("pattern=r:*", since: id)
                for number in 0..<10 {
                    let path = "/v1/keys/r:\(round * 3 + number)"
                    _ = try client.ask(number % 4 == 3 ? "DELETE" : "PUT", path, number % 4 == 3 ? nil : "\(round)")
                }
                // Up to somewhere in the middle of it.
                var count = 0
                while count < 4 + round, let event = try stream.event() {
                    if let next = event.id { id = next }
                    guard event.name == "update" else { continue }
                    seen[event.json.string("key") ?? ""] = event.data
                    count += 1
                }
            }
            let last = try stream("pattern=r:*", since: id)
            while let event = try last.event() {
                #expect(event.json.bool("replace") != true)
                if event.name == "update" { seen[event.json.string("key") ?? ""] = event.data }
                if event.name == "synced" { break }
            }
            let list = try client.ask("GET", "/v1/keys?pattern=r:*&limit=1000")
            var expected: [String: String] = [:]
            for register in list.json.array("registers") ?? [] {
                let object = try JSONObject(register)
                expected[object.string("key") ?? ""] = object.string("version")
            }
            let held = seen.compactMapValues { data -> String? in
                guard let object = try? JSONObject(Array(data.utf8)) else { return nil }
                return object.bool("deleted") == true ? nil : object.string("version")
            }
            #expect(held == expected)
        }

        @Test("An id of another pattern, or of another number of them, starts anew, and says what it replaces")
        func otherPatterns() throws {
            _ = try client.ask("PUT", "/v1/keys/a:1", "1")
            let id = try stream("pattern=a:*").event("synced").id
            let other = try stream("pattern=b:*", since: id)
            #expect(try other.event("subscribed").json.bool("replace") == true)
            let more = try stream("pattern=b:*&pattern=a:*", since: id)
            let answers = [try more.event("subscribed"), try more.event("subscribed")]
            #expect(answers[0].json.bool("replace") == true && answers[1].json.bool("replace") != true)
        }

        @Test("An id that is none starts anew, and says so", arguments: ["x", "%ZZ", "%", ",", "0", "\u{7F}"])
        func garbage(id: String) throws {
            _ = try client.ask("PUT", "/v1/keys/a:1", "1")
            let resumed = try stream("pattern=a:*", since: id == "\u{7F}" ? "%7F" : id)
            #expect(try resumed.event("subscribed").json.bool("replace") == true)
            #expect(try resumed.event("update").json.string("key") == "a:1")
        }

        @Test("An id in the middle of a snapshot can be sent back, whatever the keys are called")
        func plainIDs() throws {
            let value = "\"\(String(repeating: "v", count: 1_000))\""
            for number in 0..<600 { _ = try client.ask("PUT", "/v1/keys/%D0%BA%2C:\(number + 1_000)", value) }
            let first = try stream("pattern=*")
            var id: String?
            var seen: Set<String> = []
            while let event = try first.event(), event.name != "synced" {
                if let next = event.id { id = next }
                if event.name == "update" { seen.insert(event.json.string("key") ?? "") }
                if id != nil { break }
            }
            let place = try #require(id)
            #expect(place.utf8.allSatisfy { 0x21...0x7E ~= $0 })
            let second = try stream("pattern=*", since: place)
            #expect(try second.event("subscribed").json.bool("replace") != true)
            while let event = try second.event(), event.name != "synced" {
                if event.name == "update" { seen.insert(event.json.string("key") ?? "") }
            }
            #expect(seen.count == 600)
        }

        @Test("An id that is ahead of the database leads to everything anew, on the same stream")
        func ahead() throws {
            _ = try client.ask("PUT", "/v1/keys/a:1", "1")
            let id = try #require(try stream("pattern=a:*").event("synced").id)
            let future = id.replacing(/:\d+/, with: ":4000")
            let resumed = try stream("pattern=a:*", since: future)
            #expect(try resumed.event("subscribed").json.bool("replace") == true)
            #expect(try resumed.event("update").json.string("key") == "a:1")
            #expect(try resumed.event("synced").id != nil)
        }

        @Test("What is wrong with a stream is a status")
        func refused() throws {
            for (query, status) in [
                ("", 400), ("pattern=***", 400), ("pattern=a&pattern=", 400), ("pattern=a&patern=b", 400),
                ((0..<17).map { "pattern=\($0)" }.joined(separator: "&"), 400),
            ] {
                let answer = try RESTClient(server).ask("GET", "/v1/events?\(query)")
                #expect(answer.status == status, "\(query): \(answer)")
                #expect(try RESTClient(server).ask("HEAD", "/v1/events?\(query)").status == status)
            }
            #expect(try client.ask("HEAD", "/v1/events?pattern=*").status == 200)
        }

        @Test("A stream that nobody reads costs no more than a backlog, and goes on with what is latest")
        func slowReader() throws {
            let server = try ServerProcess(["--max-backlog", "65536"])
            let writer = try RawClient.connected(server)
            let stream = try stream("pattern=*", to: server, receiveBuffer: 4_096)
            _ = try stream.event("synced")
            let value = String(repeating: "v", count: 10_000)
            for round in 0..<400 {
                for key in 0..<5 {
                    try writer.send(#"{"type":"broadcast","key":"k:\#(key)","value":"\#(value)-\#(round)"}"#)
                }
            }
            try writer.send(#"{"type":"broadcast","id":"last","key":"end","value":1}"#)
            _ = try writer.receive(type: "ack")
            // 20 MB were written; what waits for the stream is bounded.
            let metrics = try HTTP.get("/metrics", server)
            let backlog = metrics.firstMatch(of: /(?m)^starling_backlog_bytes (\d+)$/).flatMap { Int($0.1) }
            #expect(try #require(backlog) < 1 << 20)
            var latest: [String: String] = [:]
            var updates = 0
            while latest["end"] == nil || latest.count < 6 {
                let event = try stream.event("update")
                latest[event.json.string("key") ?? ""] = event.json.string("value") ?? ""
                updates += 1
            }
            while !latest.filter({ $0.key != "end" }).allSatisfy({ $0.value.hasSuffix("-399") }) {
                let event = try stream.event("update")
                latest[event.json.string("key") ?? ""] = event.json.string("value") ?? ""
                updates += 1
            }
            #expect(updates < 1_900, "most were never needed")
        }

        @Test("A stream is told when the server stops, and when its rules change")
        func ends() throws {
            let streams = try (0..<40).map { _ in try stream("pattern=*") }
            for stream in streams { _ = try stream.event("synced") }
            let polls = try (0..<40).map { _ in
                let poll = try RESTClient(server)
                try poll.send("GET", "/v1/keys/k?wait=50&revision=0")
                return poll
            }
            try ServerProcess.until {
                try HTTP.get("/metrics", server).contains("starling_subscriptions{state=\"live\"} 80\n") ? true : nil
            }
            server.terminate()
            for stream in streams {
                #expect(try stream.event("bye").json.string("code") == "shutting_down")
                #expect(try stream.event() == nil)
            }
            for poll in polls { #expect(try poll.answer().status >= 500) }
            #expect(server.wait() == 0)

            let access = try AccessFixture()
            try access.add("a", read: ["a:*"], write: ["a:*"])
            let ruled = try access.start()
            let other = try self.stream("pattern=*", to: ruled, token: access.tokens["a"])
            _ = try other.event("synced")
            try access.revoke("a")
            #expect(try other.event("bye").json.string("code") == "access_changed")
            #expect(try other.event() == nil)
        }

        @Test("A thousand streams are told of each change")
        func thousand() throws {
            let server = try ServerProcess(["--max-connections-per-address", "2000"])
            let writer = try RESTClient(server)
            let streams = try (0..<1_000).map { _ in try stream("pattern=*", to: server) }
            for stream in streams { _ = try stream.event("synced") }
            _ = try writer.ask("PUT", "/v1/keys/k", "1")
            for stream in streams { #expect(try stream.event("update").json.string("key") == "k") }
        }
    }
}
