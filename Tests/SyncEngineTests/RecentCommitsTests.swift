import Access
import NIOCore
import Registers
import SyncProtocol
import TestSupport
import Testing

@testable import SyncEngine

struct RecentCommitsTests {
    private static func commit(_ head: Revision, _ changes: [(key: Key, revision: Revision?)]) -> CommittedChanges {
        let origin = Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 1))
        return CommittedChanges(
            head: head,
            changes: changes.map {
                CommittedChanges.Change(key: $0.key, revision: $0.revision, origin: origin, start: 0, end: 0)
            },
            frames: ByteBuffer(), collectedRevision: 0)
    }

    @Test(
        "What is found is what a list of all changes has, for as long as nothing of it is forgotten", arguments: 0..<40)
    func agrees(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var recent = RecentCommits(head: 0, capacity: 20_000)
        var all: [(key: Key, revision: Revision)] = []
        var pages: [Revision] = []
        var head: Revision = 0
        var answers = 0
        for _ in 0..<600 {
            var changes: [(key: Key, revision: Revision?)] = []
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let key = try Key("a:\(Int.random(in: 0..<9, using: &random))")
                // Some are transient.
                if Int.random(in: 0..<5, using: &random) == 0 {
                    changes.append((key, nil))
                } else {
                    head = head.next
                    changes.append((key, head))
                    all.append((key, head))
                }
            }
            recent.delivered(Self.commit(head, changes))
            if Int.random(in: 0..<20, using: &random) == 0 {
                recent.pageAsked(at: head)
                pages.append(head)
            } else if let page = pages.randomElement(using: &random), Int.random(in: 0..<10, using: &random) == 0 {
                recent.pageDone(askedAt: page)
                pages.remove(at: pages.firstIndex(of: page) ?? 0)
            }
            let after = Revision(head.rawValue - min(head.rawValue, UInt64.random(in: 0..<200, using: &random)))
            let filter = Filter(try Pattern(Bool.random(using: &random) ? "a:*" : "a:3"))
            let expected = all.filter { $0.revision > after && filter.matches($0.key) }
                .reduce(into: [Key: Revision]()) { $0[$1.key] = $1.revision }
            var looks = Int.max
            if let found = recent.changes(after: after, matching: filter, looks: &looks) {
                answers += 1
                #expect(found.map(\.revision) == expected.values.sorted())
                #expect(found.allSatisfy { $0.commit.changes[$0.change].revision == $0.revision })
            }
            // What a page under way may need is there, however little is kept else.
            if let page = pages.min() {
                let since = recent.latestChanges(after: page).mapValues(\.revision)
                #expect(since == all.filter { $0.revision > page }.reduce(into: [:]) { $0[$1.key] = $1.revision })
            }
        }
        #expect(answers > 50)
        #expect(pages.isEmpty == recent.isUnneeded)
    }
}
