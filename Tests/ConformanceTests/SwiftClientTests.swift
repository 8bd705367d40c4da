import Foundation
import StarlingClient
import SyncProtocol
import Synchronization
import Testing

extension ConformanceTests {
    /// The client in Swift, with the real server.
    struct SwiftClientTests {
        private struct Task: Codable, Equatable {
            var state: String
        }

        /// Collects what a subscriber is told.
        private final class Told: Sendable {
            private let updates = Mutex<[Update]>([])
            var all: [Update] { updates.withLock { $0 } }
            func add(_ update: Update) { updates.withLock { $0.append(update) } }
        }

        private func until(_ what: String, _ condition: () throws -> Bool) async throws {
            let deadline = ContinuousClock.now + .seconds(20)
            while try !condition() {
                if ContinuousClock.now > deadline { throw TestFailure("waited in vain: \(what)") }
                await _Concurrency.Task.yield()
            }
        }

        @Test("The five lines of the README")
        func fiveLines() async throws {
            let server = try ServerProcess()
            let told = Told()
            let sync = try StarlingClient(server.url, agent: "planner")
            let subscription = try sync.subscribe("task:*") { told.add($0) }
            let outcome = try await sync.broadcast("task:42:status", Task(state: "done")).outcome
            #expect(outcome.status == .applied && outcome.isDurable)
            #expect(try sync.get("task:42:status") == Task(state: "done"))
            try await until("it is told") { told.all.count == 1 }
            #expect(told.all.first?.agent == "planner")
            await subscription.unsubscribe()
            _ = try await sync.broadcast("task:42:status", Task(state: "open")).outcome
            #expect(told.all.count == 1)
            await sync.close()
            #expect(sync.state == .closed)
            #expect(throws: StarlingError.self) { try sync.broadcast("x", 1) }
        }

        @Test("Two clients see each other's writes, deletes and metadata")
        func twoClients() async throws {
            let server = try ServerProcess()
            let (a, b) = (try StarlingClient(server.url, agent: "a"), try StarlingClient(server.url, agent: "b"))
            defer { for client in [a, b] { client.closeAtOnce() } }
            let seen = try b.subscribe("x:*")
            try await seen.synced()
            _ = try await a.broadcast(
                "x:1", "ä😀\u{2028}", ttl: .seconds(60), metadata: ["why": ["test"]], session: "run-1"
            )
            .outcome
            _ = try await a.delete("x:1").outcome
            _ = try await a.broadcast("x:2", [1.5, 2]).outcome
            var told: [Update] = []
            for try await update in seen {
                told.append(update)
                if told.count == 3 { break }
            }
            #expect(try told[0].value(as: String.self) == "ä😀\u{2028}")
            #expect(told.map(\.isDeleted) == [false, true, false])
            #expect(told[0].metadata == #"{"why":["test"]}"# && told[0].session == "run-1")
            #expect(told[0].expiresAt.map { $0 > Date() } == true)
            #expect(try b.list().map(\.key) == ["x:2"])
            await seen.unsubscribe()
            #expect(b.entry("x:2") == nil)
        }

        @Test("Reading the server, conditions, fences and claims")
        func claims() async throws {
            let server = try ServerProcess()
            let (a, b) = (try StarlingClient(server.url, agent: "a"), try StarlingClient(server.url, agent: "b"))
            defer { for client in [a, b] { client.closeAtOnce() } }
            try await a.live()
            try await b.live()
            for index in 0..<25 { try a.broadcast("n:\(index)", index) }
            await a.drained()
            #expect(try await b.fetchAll("n:*", pageSize: 10).count == 25)
            #expect(try await b.fetch("n:7")?.value() == 7)
            #expect(try await b.fetch("n:none") == nil as Update?)

            #expect(try await a.broadcast("once", 1, expecting: .absent).status == .applied)
            #expect(try await b.broadcast("once", 2, expecting: .absent).status == .condition)

            let lease = try await a.claim("lock", ttl: .seconds(1))
            await #expect(throws: StarlingError("held", "lock is held by a")) { try await b.claim("lock") }
            let first = lease.expiresAt
            try await until("it is renewed") { lease.expiresAt > first }
            #expect(try await a.broadcast("work", 1, fence: Fence(lease)).status == .applied)
            try await lease.release()
            #expect(try await lease.ended == nil)
            await #expect(throws: (any Error).self) { try await a.broadcast("work", 2, fence: Fence(lease)) }
            let next = try await b.claim("lock", untilDisconnect: true)
            #expect(next.fence > lease.fence)
            await b.close()
            #expect(try await next.ended == nil)
            // Released: nobody has to wait for its time to be over.
            try await a.claim("lock").release()
        }

        @Test("A slow callback is told the latest of each key, in bounded memory")
        func slowCallback() async throws {
            let server = try ServerProcess()
            let (reader, writer) = (try StarlingClient(server.url), try StarlingClient(server.url, agent: "w"))
            defer { for client in [reader, writer] { client.closeAtOnce() } }
            let told = Told()
            let gate = AsyncStream<Void>.makeStream()
            let subscription = try reader.subscribe("k:*") { update in
                told.add(update)
                if told.all.count == 1 { for await _ in gate.stream { break } }
            }
            try await subscription.synced()
            for round in 0..<400 {
                for key in 0..<10 { try writer.broadcast("k:\(key)", round) }
                await writer.drained()
            }
            try await until("the replica has all") { try reader.get("k:9") == 399 }
            gate.continuation.yield()
            try await until("the latest are told") {
                Set(try told.all.filter { try $0.value() == 399 }.map(\.key)).count == 10
            }
            #expect(told.all.count < 1_500)
            for key in 0..<10 {
                let values = try told.all.filter { $0.key == "k:\(key)" }.map { try $0.value(as: Int.self) }
                #expect(values == values.sorted())
            }
        }

        @Test("1,000 writes made offline are made once each by whoever finds the outbox")
        func offline() async throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var options = StarlingClient.Options()
            options.outbox = FileOutbox(folder.appending(path: "outbox").path)
            let killed = try StarlingClient("ws://127.0.0.1:1/sync", agent: "killed", options: options)
            for index in 0..<1_000 { try killed.broadcast("offline:\(index)", index) }
            // What is in the file now is what a killed process leaves.
            try FileManager.default.copyItem(
                at: folder.appending(path: "outbox"), to: folder.appending(path: "left"))
            await killed.close(timeout: .zero)

            let server = try ServerProcess()
            options.outbox = FileOutbox(folder.appending(path: "left").path)
            let client = try StarlingClient(server.url, agent: "other", options: options)
            defer { client.closeAtOnce() }
            let waiting = client.pendingWrites
            #expect(waiting.count == 1_000)
            var revisions: Set<UInt64?> = []
            for write in waiting { revisions.insert(try await write.outcome.revision) }
            #expect(revisions.count == 1_000, "a revision each: none was made twice")
            let stored = try await client.fetchAll("offline:*")
            #expect(stored.count == 1_000)
            #expect(try stored.allSatisfy { try "offline:\($0.value(as: Int.self))" == $0.key && $0.agent == "killed" })
            await client.close()
            #expect(try FileOutbox(folder.appending(path: "left").path).load() == [])
        }

        @Test("An outbox whose file went away, was replaced or cut off keeps nothing more, and says so")
        func spoiltOutbox() throws {
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            let path = folder.appending(path: "outbox").path
            let (record, other) = try (
                Self.record(#"{"key":"k","version":"018bcfe56800-0000-me","value":"1"}"#),
                Self.record(#"{"key":"k","version":"018bcfe56800-0001-me","value":"2"}"#)
            )
            let spoils: [() throws -> Void] = [
                { try FileManager.default.removeItem(atPath: path) },
                { try Data(contentsOf: URL(filePath: path)).write(to: URL(filePath: path), options: .atomic) },
                { truncate(path, 5) },
                { truncate(path, 10_000) },
            ]
            for spoil in spoils {
                try? FileManager.default.removeItem(atPath: path)
                let outbox = FileOutbox(path)
                #expect(try outbox.load() == [])
                try outbox.put(record)
                try spoil()
                #expect(throws: StarlingError.self) { try outbox.put(other) }
                outbox.close()
            }
            try Data(#"{"starling":"outbox","format":1}"#.utf8 + [10]).write(to: URL(filePath: path))
            try FileManager.default.linkItem(atPath: path, toPath: path + "-too")
            for path in [path, "/dev/full"] {
                let error = #expect(throws: StarlingError.self) { try FileOutbox(path).load() }
                #expect(error?.code == "outbox_failed")
            }
        }

        @Test("A client that is closed before it is connected has sent what a durable outbox holds")
        func shortProgram() async throws {
            let server = try ServerProcess()
            let folder = try ServerProcess.makeFolder()
            defer { try? FileManager.default.removeItem(at: folder) }
            var options = StarlingClient.Options()
            options.outbox = FileOutbox(folder.appending(path: "outbox").path)
            let client = try StarlingClient(server.url, options: options)
            try client.broadcast("short", 1)
            await client.close()
            #expect(try ServerProcess.run(["get", "short", "--url", server.url]).output == "1\n")
            // Where nobody answers, it is not waited for.
            options.outbox = FileOutbox(folder.appending(path: "other").path)
            let other = try StarlingClient("ws://127.0.0.1:1/sync", options: options)
            try other.broadcast("k", 1)
            await other.close(timeout: .seconds(60))
            #expect(try FileOutbox(folder.appending(path: "other").path).load().count == 1)
        }

        private static func record(_ json: String) throws -> WriteRecord {
            try JSONDecoder().decode(WriteRecord.self, from: Data(json.utf8))
        }

        @Test("Nothing is given up for a forgotten token")
        func forgottenToken() async throws {
            let access = try AccessFixture()
            try access.add("all", read: ["*"], write: ["*"])
            let server = try access.start()
            let token = Mutex("")
            for hasToken in [false, true] {
                var options = StarlingClient.Options()
                if hasToken { options.token = { token.withLock { $0 } } }
                let client = try StarlingClient(server.url, options: options)
                defer { client.closeAtOnce() }
                let write = try client.broadcast("k", hasToken)
                let error = await #expect(throws: StarlingError.self) { try await client.live(timeout: .seconds(10)) }
                #expect(error?.code == "unauthorized")
                #expect(client.lastError?.code == "unauthorized")
                #expect(client.pendingWrites.count == 1)
                guard hasToken else { continue }
                token.withLock { $0 = access.tokens["all"] ?? "" }
                client.reconnect()
                try await client.live(timeout: .seconds(10))
                #expect(try await write.outcome.status == .applied)
            }
        }

        @Test("A touch lets a key live longer, under its version")
        func touch() async throws {
            let server = try ServerProcess()
            let client = try StarlingClient(server.url)
            defer { client.closeAtOnce() }
            try client.subscribe("k")
            let outcome = try await client.broadcast("k", 1, ttl: .seconds(60)).outcome
            #expect(try await client.touch("k", ttl: .seconds(600)))
            let before = try #require(outcome.expiresAt)
            try await until("it is told") {
                (client.entry("k")?.expiresAt?.timeIntervalSince1970 ?? 0) * 1_000 > Double(before) + 1_000
            }
            #expect(client.entry("k")?.version == outcome.version)
            #expect(try await !client.touch("nothing", ttl: .seconds(600)))
        }

        @Test("A batch is applied whole or not at all, and gives up the claim that it names")
        func batch() async throws {
            let server = try ServerProcess()
            let client = try StarlingClient(server.url)
            defer { client.closeAtOnce() }
            try client.subscribe("*")
            let lease = try await client.claim("lock", ttl: .seconds(60))
            let made = try await client.batch(
                [
                    .set("a", Task(state: "x"), expecting: .absent),
                    .set("b", 1, ttl: .seconds(60), metadata: ["m": 1], session: "s"),
                ], requiring: [.fence(Fence(lease)), .key("none", .absent)])
            guard case .applied(let revisions, let versions) = made else { throw TestFailure("\(made)") }
            #expect(revisions.count == 2 && versions.count == 2)
            try await until("it is told") { client.entry("b")?.version == versions[1] }
            #expect(try client.get("a") == Task(state: "x"))
            let refused = try await client.batch([
                .delete("a", expecting: .absent), .set("c", 1, expecting: .version(versions[0])),
            ])
            guard case .refused(let failures) = refused else { throw TestFailure("\(refused)") }
            #expect(
                failures.map(\.place) == [.write(0), .write(1)] && failures.map(\.reason) == ["condition", "condition"])
            #expect(failures[0].current?.version == versions[0] && failures[1].current == nil)
            let done: [BatchWrite] = [try .delete("a"), try .release(lease)]
            let first = try await client.batch(done, op: "0011223344556677")
            #expect(!lease.isHeld)
            #expect(try await lease.ended == nil)
            _ = try await client.broadcast("a", 2).outcome
            let again = try await client.batch(done, op: "0011223344556677")
            #expect("\(first)" == "\(again)" && first.isApplied)
            let answer = try JSONObject([UInt8](try await client.request("get", ["key": "a"])))
            #expect(answer.integer("value") == 2)
            await #expect(throws: StarlingError.self) { try await client.request("subscribe", ["pattern": "*"]) }
        }

        /// An outbox on a full disk.
        private struct FullOutbox: OutboxStore {
            func load() -> [WriteRecord] { [] }
            func put(_ record: WriteRecord) throws { throw TestFailure("the disk is full") }
            func remove(version: String) {}
        }

        @Test("A write that the outbox cannot keep is not made")
        func fullOutbox() async throws {
            let server = try ServerProcess()
            var options = StarlingClient.Options()
            options.outbox = FullOutbox()
            let client = try StarlingClient(server.url, options: options)
            defer { client.closeAtOnce() }
            try client.subscribe("*")
            try await client.live()
            #expect(throws: StarlingError.self) { try client.broadcast("x", 1) }
            #expect(client.entry("x") == nil)
            #expect(client.pendingWrites.isEmpty)
            #expect(try await client.fetch("x") == nil)
        }

        @Test("Another edge takes over within 2 s, and nothing is told twice")
        func failover() async throws {
            let (one, two) = (try ServerProcess(), try ServerProcess())
            var options = StarlingClient.Options()
            options.probeInterval = .milliseconds(200)
            // What a link between the two would do: the same registers, with the same versions, in both.
            let feed = try [one, two].map { try RawClient.connected($0) }
            func put(_ index: Int, _ clients: [RawClient]) throws {
                let version = "018bcfe56800-\(String(0x10000 + index, radix: 16).dropFirst())-source"
                for client in clients {
                    try client.send(
                        #"{"type":"broadcast","key":"k:\#(index % 10)","value":\#(index),"version":"\#(version)"}"#)
                }
            }
            for index in 0..<50 { try put(index, feed) }
            // Both have all of it: to an edge that has less, a replica would go back.
            for client in feed {
                try client.send(#"{"type":"get","id":"g","key":"k:9"}"#)
                #expect(try client.receive(type: "register").bool("found") == true)
            }
            let told = Told()
            let client = try StarlingClient(one.url, two.url, options: options)
            defer { client.closeAtOnce() }
            try client.subscribe("k:*") { told.add($0) }
            try await client.live()
            #expect(client.edge == one.url)
            try await until("both are measured") { client.edges.allSatisfy { $0.roundTrip != nil } }
            try await until("all is there") { try client.get("k:9") == 49 }
            let stoppedAt = ContinuousClock.now
            one.killHard()
            try await until("the other is used") { client.state == .live && client.edge == two.url }
            #expect(ContinuousClock.now - stoppedAt < .seconds(2))
            for index in 50..<100 { try put(index, [feed[1]]) }
            try await until("updates come") { try client.get("k:9") == 99 }
            let expected = Set(50..<100)
            try await until("all are told") {
                expected.isSubset(of: Set(try told.all.map { try $0.value(as: Int.self) }))
            }
            #expect(Set(told.all.map(\.version)).count == told.all.count, "nothing is told twice")
        }

        @Test("What the server refuses, and what cannot be, is said")
        func errors() async throws {
            #expect(throws: StarlingError.self) { try StarlingClient("http://127.0.0.1/") }
            let server = try ServerProcess(["--max-subscriptions", "1"])
            let client = try StarlingClient(server.url)
            defer { client.closeAtOnce() }
            #expect(throws: StarlingError.self) { try client.subscribe("***") }
            #expect(throws: StarlingError.self) { try client.broadcast("", 1) }
            try await client.subscribe("a").synced()
            let second = try client.subscribe("b")
            await #expect(throws: StarlingError.self) { try await second.synced() }
            await #expect(throws: StarlingError.self) { for try await _ in second {} }
        }
    }
}
