import Access
import NIOCore
import Registers
import Testing

@testable import SyncEngine

struct FanoutTests {
    private var fanout = Fanout()

    private func filter(_ pattern: String) throws -> Filter { Filter(try Pattern(pattern), within: .everything) }

    private func commit(_ keys: [(String, Revision?)]) throws -> CommittedChanges {
        let changes = try keys.map { key, revision in
            CommittedChanges.Change(
                key: try Key(key), revision: revision, origin: .server, start: 0, end: 0)
        }
        return CommittedChanges(head: 9, changes: changes, frames: ByteBuffer(), collectedRevision: 0)
    }

    private mutating func match(_ keys: (String, Revision?)...) throws -> [String] {
        let groups = fanout.match(try commit(keys).changes)
        defer { fanout.forget() }
        return groups.map { "\(fanout[$0].members.sorted()): \(fanout[$0].changes)" }.sorted()
    }

    @Test("A connection gets what matches its live subscriptions, each change once, for as long as one of them is")
    mutating func live() throws {
        let all = try fanout.add(filter("**"))
        let tasks = try fanout.add(filter("task:*"))
        #expect(try match(("task:1", 1)) == [])
        fanout.goLive(all, 0)
        fanout.goLive(tasks, 0)
        fanout.goLive(tasks, 1)
        fanout.goLive(tasks, 1)
        #expect(try match(("task:1", 1), ("x", 2)) == ["[0]: [0, 1]", "[1]: [0]"])
        fanout.leaveLive(all, 0)
        #expect(try match(("task:1", 3), ("x", 4)) == ["[0, 1]: [0]"])
        fanout.leaveLive(tasks, 1)
        #expect(try match(("task:1", 5)) == ["[0, 1]: [0]"])
        fanout.leaveLive(tasks, 1)
        fanout.leaveLive(tasks, 0)
        #expect(try match(("task:1", 6)) == [])
        fanout.remove(all)
        fanout.remove(tasks)
        #expect(fanout.patternCount == 0 && fanout.groupCount == 0)
    }

    @Test(
        "What a subscription was not sent is counted while it is behind, without what was dropped before and what is transient"
    )
    mutating func demotions() throws {
        let pattern = try fanout.add(filter("k*"))
        fanout.goLive(pattern, 0)
        _ = try match(("k1", 1), ("k2", 2), ("other", 3))
        let dropped = Delivery(
            frames: ByteBuffer(), slots: [0], before: 1, commit: try commit([("k1", 1), ("k2", 2), ("k3", nil)]),
            changes: [1, 2])
        fanout.leaveLive(pattern, 0)
        let before = fanout.demoted(pattern, dropped: fanout.count([dropped]))
        _ = try match(("k4", 4), ("k5", nil))
        #expect(fanout.promoted(pattern, since: before) == 2)
    }
}
