import Foundation
import StarlingClient
import SyncProtocol
import Testing

extension ConformanceTests {
    /// What the Swift client stores and finds, with the real server.
    struct SwiftMemoryTests {
        @Test("What one client stores another finds, and the replica ends up with the time that the server filled in")
        func memories() async throws {
            let server = try ServerProcess()
            let ada = try StarlingClient(server.url, agent: "a:b")
            let bob = try StarlingClient(server.url, agent: "bob")
            try ada.subscribe("memory:*")
            let stored = try ada.memory.store(
                "auth/decision", ["text": "tokens end"], ttl: .seconds(60), tags: ["auth"], refreshOnRead: true)
            #expect(try await stored.outcome.status == .applied)
            let found = try #require(try await bob.memory.retrieve("auth/decision", agent: "a:b"))
            #expect(try found.value(as: [String: String].self) == ["text": "tokens end"])
            #expect(found.tags == ["auth"] && found.expiresAt.map { $0 > .now } == true)
            let created = try #require(found.createdAt)
            #expect(abs(created.timeIntervalSinceNow) < 60)
            let time = #""created_at":\#(Int(created.timeIntervalSince1970))"#
            try ServerProcess.until {
                ada.entry("memory:a%3Ab:auth/decision")?.metadata?.contains(time) == true ? true : nil
            }
            #expect(try await ada.memory.list("auth/").map(\.name) == ["auth/decision"])
            let name = try await bob.knowledge.add("auth", "tokens are short", ["confidence": 0.5])
            #expect(try await ada.knowledge.add("Auth", "tokens are short") == name)
            let answer = try JSONObject(Array(try await ada.search("tokens", ["in": ["knowledge"]])))
            #expect(answer.array("results")?.count == 1 && answer.bool("complete") == true)
            #expect(try await ada.knowledge.get(name) != nil)
            #expect(try await ada.knowledge.get("nothing") == nil)
            #expect(try await ada.memory.delete("auth/decision").outcome.status == .applied)
            #expect(try await bob.memory.retrieve("auth/decision", agent: "a:b") == nil)
            await ada.close()
            await bob.close()
        }
    }
}
