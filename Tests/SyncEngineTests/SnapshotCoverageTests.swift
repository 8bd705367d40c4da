import Registers
import TestSupport
import Testing

@testable import SyncEngine

struct SnapshotCoverageTests {
    @Test(
        "Whatever it says was sent was sent, in as many pages as may be; in a few, it forgets nothing",
        arguments: [8, 64, 700])
    func pages(pages: Int) throws {
        var random = SeededGenerator(seed: UInt64(pages))
        let keys = try (0..<2_000).map { try Key("k:" + String(10_000 + $0)) }
        let start = 100
        let coverage = SnapshotCoverage(after: keys[start])
        // As of which revision each key was sent.
        var sent: [Key: Revision] = [:]
        var head: Revision = 10
        var from = start + 1
        for page in 0..<pages {
            head = head + UInt64.random(in: 0...3, using: &random)
            let isLast = page == pages - 1
            let to =
                isLast
                ? keys.count - 1 : from + Int.random(in: 0...(keys.count - from) / (pages - page), using: &random)
            for key in keys[from...to] { sent[key] = head }
            coverage.note(through: isLast ? nil : keys[to], head: head)
            if page % 16 == 0, let key = keys[from...to].randomElement(using: &random) {
                sent[key] = head + 5
                coverage.note(key, at: head + 5)
            }
            from = min(to + 1, keys.count - 1)
        }
        for key in keys {
            for revision in (0...(head.rawValue + 10)).map({ Revision($0) }) where coverage.covers(key, at: revision) {
                #expect(revision <= sent[key] ?? 0, "\(key) \(revision)")
            }
        }
        guard pages <= SnapshotCoverage.capacity else { return }
        for (key, revision) in sent { #expect(coverage.covers(key, at: revision), "\(key) \(revision)") }
        #expect(!coverage.covers(keys[start], at: 1))
    }
}
