import Access
import Foundation
import NIOCore
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol
import TestSupport

/// A committer on a database of SQLite's, under a seed: it writes, deletes, forgets, fails and crashes, and cleans its log meanwhile. What it
/// holds by revision is what it holds by key, whatever was cleaned.
package struct StoreSimulation {
    private static let keys = 12

    private var random: SeededGenerator
    private let folder: URL
    private var crashes = 0
    private var database: SQLiteDatabase
    private var committer: Committer<FaultyStore, NoRules>
    private var now: WallTime = 1_000_000
    private var steps = 0
    /// The latest write to each key that was acknowledged.
    private var acknowledged: [Key: Revision] = [:]
    private var problems: [String] = []

    /// Runs a database under a seed.
    ///
    /// - Returns: what must never happen, and did.
    package static func run(seed: UInt64, steps: Int = 120) -> [String] {
        let folder = FileManager.default.temporaryDirectory.appending(path: "starling-store-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        do {
            var simulation = try StoreSimulation(seed: seed, folder: folder)
            while simulation.steps < steps, simulation.problems.isEmpty { try simulation.step() }
            if simulation.problems.isEmpty { try simulation.finish() }
            return simulation.problems
        } catch {
            return ["\(error)"]
        }
    }

    private init(seed: UInt64, folder: URL) throws {
        random = SeededGenerator(seed: seed)
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        (database, committer) = try Self.open(folder.appending(path: "0.db"), now: now, &random)
    }

    private static func open(
        _ path: URL, now: WallTime, _ random: inout SeededGenerator
    ) throws -> (SQLiteDatabase, Committer<FaultyStore, NoRules>) {
        var configuration = SQLiteDatabase.Configuration(path: path.path, bootID: "boot")
        configuration.stale = StaleRevisions(manyStale: 6, leastInCommit: 2)
        let database = try SQLiteDatabase(configuration, now: now, random: &random)
        let committer = Committer(
            store: FaultyStore(try database.makeWriter()), state: database.state, loops: 1, maximumDrift: 60_000,
            // Too little for all keys.
            cacheSize: 16_384, rules: NoRules(), framing: { buffer, body in body(&buffer) })
        return (database, committer)
    }

    // MARK: Steps

    private mutating func step() throws {
        steps += 1
        now = now + UInt64.random(in: 1...20, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0: try committer.store.writer.clean()
        case 1: collect()
        case 2: try crash()
        case 3: try restart()
        case 4: try commit(failing: [.put, .commitLost, .commitKept].randomElement(using: &random) ?? .put)
        default: try commit(failing: .none)
        }
        try check()
    }

    private mutating func commit(failing fault: FaultyStore.Fault) throws {
        let writes = try (0..<Int.random(in: 1...6, using: &random)).map { _ in try write() }
        committer.store.fault = fault
        let (changes, failure) = committer.commit(writes, now: now)
        committer.store.fault = .none
        if let failure, fault == .none { problems.append("a commit failed: \(failure)") }
        for result in changes.results.joined() {
            if case .applied(_, let revision, _, _) = result.outcome, let key = result.key {
                acknowledged[key] = revision
            }
        }
    }

    private mutating func write() throws -> WriteRequest {
        let isDelete = Int.random(in: 0..<3, using: &random) == 0
        let write = ClientMessage.Write(
            id: nil, key: try Key("k:\(Int.random(in: 0..<Self.keys, using: &random))"),
            value: isDelete ? nil : Array("\(UInt64.random(in: 0...9_999, using: &random))".utf8))
        return WriteRequest(
            write: write, agent: try Agent("a"),
            origin: Origin(loop: 0, connection: ConnectionID(slot: 0, generation: 0)))
    }

    private mutating func collect() {
        now = now + 1_000
        let (_, _, failure) = committer.collect(retention: 500, now: now)
        if let failure { problems.append("collecting failed: \(failure)") }
    }

    /// The server ends, and another one opens the files as they are.
    private mutating func crash() throws {
        crashes += 1
        let copy = folder.appending(path: "\(crashes).db")
        for suffix in ["", "-wal"] {
            try FileManager.default.copyItem(atPath: database.configuration.path + suffix, toPath: copy.path + suffix)
        }
        try close()
        (database, committer) = try Self.open(copy, now: now, &random)
    }

    private mutating func restart() throws {
        try close()
        (database, committer) = try Self.open(URL(filePath: database.configuration.path), now: now, &random)
    }

    private mutating func close() throws {
        let stamp = committer.lastStamp
        try committer.store.writer.finishCleaning()
        // Its connection is closed with it.
        let other = try Self.open(folder.appending(path: "other.db"), now: now, &random)
        committer = other.1
        try database.close(lastStamp: stamp)
    }

    // MARK: Checks

    private mutating func check() throws {
        let start = Revision(UInt64.random(in: 0...committer.head.rawValue, using: &random))
        let (byKey, byRevision, head) = try SQLiteReader(database: database).snapshot {
            snapshot throws(StoreError) in
            var byKey: [StoredRegister] = []
            var byRevision: [StoredRegister] = []
            for range in Filter(.everything, within: .everything).ranges {
                _ = try snapshot.forEachRegister(in: range, after: nil) {
                    byKey.append($0)
                    return true
                }
            }
            try snapshot.forEachChange(after: start) {
                byRevision.append($0)
                return true
            }
            return (byKey, byRevision, try snapshot.horizon().head)
        }
        let changed = byKey.filter { $0.revision > start }.sorted { $0.revision < $1.revision }
        if changed != byRevision {
            problems.append(
                "behind revision \(start) the log has \(byRevision.map(\.revision)), the table \(changed.map(\.revision))"
            )
        }
        if head < committer.head { problems.append("the head is \(head), and was \(committer.head)") }
        let collected = committer.collectedRevision
        for (key, revision) in acknowledged where revision > collected {
            let found = byKey.first { $0.register.key == key }
            if found.map({ $0.revision < revision }) ?? true {
                problems.append(
                    "\(key) was acknowledged with revision \(revision), and has \(String(describing: found))")
            }
        }
    }

    /// Once all is cleaned, each register has one row in the log.
    private mutating func finish() throws {
        while committer.store.writer.canClean { try committer.store.writer.clean() }
        try restart()
        let check = try DatabaseFile(database.configuration.path).check()
        problems += check.problems
        if check.staleRevisions > 0 {
            problems.append("\(check.staleRevisions) rows of the log are stale, and none is to be")
        }
        try close()
    }
}
