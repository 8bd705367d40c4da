import NIOCore
import Registers
import SyncProtocol
import Testing

@testable import ModelContext

/// What URIs stand for, and which of them a client is told of when.
struct ResourceTests {
    @Test("A URI names what it is made of, whatever characters that has")
    func uris() {
        for key in ["task:42", "a/b", "ä", "a b", "a%b", "100%", "x?y", "a#b"] {
            let uri = ResourceURI.of(key: key)
            if key.contains("?") { continue }
            #expect(ResourceURI(uri) == .key(key), "\(uri)")
        }
        #expect(ResourceURI("starling://keys/task:*") == .keys(pattern: "task:*"))
        #expect(ResourceURI("starling://keys/a%2A*") == .keys(pattern: #"a\**"#), "an encoded wildcard is none")
        #expect(ResourceURI("starling://patterns/task:*") == .pattern("task:*"))
        #expect(ResourceURI("starling://memory/a%3Ab/k/l") == .memory(agent: "a:b", key: "k/l"))
        #expect(ResourceURI("starling://swarms/s%2Ft/tasks/a%2Fb") == .task(swarm: "s/t", task: "a/b"))
        #expect(ResourceURI("starling://swarms/s/ready") == .swarm("s", .ready))
        #expect(ResourceURI("starling://swarms/s/inbox/ada") == .inbox(swarm: "s", agent: "ada"))
        for bad in [
            "starling://keys", "starling://keys/", "starling://keys/%zz", "starling://keys/%FF", "starling://x/y",
            "http://keys/a", "starling://swarms/s", "starling://swarms//status", "starling://memory/a",
            "starling://keys/" + String(repeating: "a", count: 10_000),
        ] { #expect(ResourceURI(bad) == nil, "\(bad.prefix(60))") }
    }

    @Test("256 keys of patterns are named in a minute; beyond them the pattern is; what was named may be named again")
    func coarsening() {
        var queue = UpdateQueue()
        for number in 0..<5_000 { queue.add(key: "k\(number)", of: "p", now: 0) }
        let first = queue.take().uris
        #expect(first.count == 257 && first.last == "p" && first.prefix(256).allSatisfy { $0.hasPrefix("k") })
        for number in 0..<5_000 { queue.add(key: "k\(number)", of: "p", now: 59_999) }
        #expect(queue.take().uris.count == 257, "the same ones, and the pattern")
        queue.add(key: "k9999", of: "p", now: 60_000)
        #expect(queue.take().uris == ["k9999"], "a minute later others may be")
        queue.add("u")
        queue.add("u")
        queue.remove("u")
        #expect(queue.isEmpty)
    }

    private func update(_ key: String) throws -> JSONObject {
        try JSONObject(Array(#"{"type":"update","key":"\#(key)","value":1}"#.utf8))
    }

    private func uris(_ subscriptions: inout ResourceSubscriptions) throws -> [String] {
        try subscriptions.notifications(nil).map { try JSONObject($0).object("params")?.string("uri") ?? "list" }
    }

    @Test("Each URI is told of by what it is made of, once; a task is not another that begins like it")
    func matching() throws {
        var subscriptions = ResourceSubscriptions()
        for uri in [
            "starling://keys/a:1", "starling://keys/a:*", "starling://patterns/a:*", "starling://swarms/s/tasks/7",
            "starling://swarms/s/status", "starling://swarms/s/inbox/ada", "starling://memory/ada/k",
        ] {
            let added = try #require(try subscriptions.add(uri))
            let subscribed = try JSONObject(Array(#"{"type":"subscribed","id":"\#(added.id)"}"#.utf8))
            _ = subscriptions.take(subscribed, now: 0)
            #expect(try subscriptions.add(uri) == nil, "twice")
        }
        #expect(subscriptions.isSettled && subscriptions.honoured.count == 7)
        for (key, told) in [
            ("a:1", ["starling://keys/a:1", "starling://keys/a:1", "starling://patterns/a:*"]),
            ("a:2", ["starling://keys/a:2", "starling://patterns/a:*"]),
            ("swarm:s:task:7", ["starling://swarms/s/tasks/7", "starling://swarms/s/status"]),
            ("swarm:s:task:7:result", ["starling://swarms/s/tasks/7", "starling://swarms/s/status"]),
            ("swarm:s:task:71", ["starling://swarms/s/status"]),
            ("swarm:s:inbox:ada:1", ["starling://swarms/s/status", "starling://swarms/s/inbox/ada"]),
            ("memory:ada:k", ["starling://memory/ada/k"]), ("memory:ada:k2", []), ("other", []),
        ] {
            _ = subscriptions.take(try update(key), now: 0)
            #expect(try Set(uris(&subscriptions)) == Set(told), "\(key)")
        }
        _ = subscriptions.remove("starling://keys/a:1")
        _ = subscriptions.take(try update("a:1"), now: 0)
        #expect(
            try Set(uris(&subscriptions)) == ["starling://keys/a:1", "starling://patterns/a:*"],
            "as a key of the pattern")
        subscriptions.noteAll()
        #expect(try uris(&subscriptions).count == 6)
        #expect(subscriptions.renewed().count == 6 && !subscriptions.isSettled)
    }

    @Test("There is a limit, and what is refused is not there")
    func limits() throws {
        var subscriptions = ResourceSubscriptions()
        for number in 0..<ResourceSubscriptions.maximumCount {
            _ = try subscriptions.add("starling://keys/\(number)")
        }
        #expect(throws: ToolFailure.self) { _ = try subscriptions.add("starling://keys/more") }
        let refused = try JSONObject(Array(#"{"type":"error","id":"r1","code":"forbidden","message":"no"}"#.utf8))
        guard case .refused(let id, _)? = subscriptions.take(refused, now: 0) else { throw RPCError(.parse, "") }
        #expect(id == "r1" && subscriptions.count == ResourceSubscriptions.maximumCount - 1)
        #expect(throws: ToolFailure.self) { _ = try subscriptions.add("file:///x") }
    }
}
