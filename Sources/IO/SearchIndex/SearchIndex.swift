package import Follower
import Foundation
import GRDB
import Registers
import Synchronization

/// What memories and knowledge are found by: a file of its own beside the database, with FTS5, kept by a ``Follower``.
///
/// It is derived, and thrown away whenever anything is wrong with it. Nothing that is acknowledged waits for it, and what it says is looked up before
/// anybody is told.
package final class SearchIndex: DerivedStore {
    /// The registers that it follows.
    package static let patterns = ["memory:*", "knowledge:*", "usage:knowledge:*"]

    private static let layout = 3

    private struct State {
        var queue: DatabaseQueue?
        var counts = NamespaceCounts()
    }

    /// nil: it is in memory only, since values are to be on no disk as they are.
    private let path: String?
    private let state = Mutex(State())
    /// How many searches wait, or run.
    let waiting = Atomic<Int>(0)
    let frequencies = Mutex(Frequencies())
    private let closing = Atomic<Bool>(false)
    /// Whether nothing is looked for any more.
    var isClosing: Bool { closing.load(ordering: .relaxed) }

    package init(path: String?) { self.path = path }

    /// What a search found nothing wrong with to run on; nil: it is being made.
    var queue: DatabaseQueue? { state.withLock { $0.queue } }

    /// How many documents there are, by kind and namespace.
    package var namespaces: [NamespaceCounts.Namespace: Int] { state.withLock { $0.counts.documents } }

    // MARK: Keeping

    package func open(patterns: [String]) async throws -> [String?] {
        closing.store(false, ordering: .relaxed)
        let queue = try state.withLock { try $0.queue ?? Self.makeQueue(path) }
        let (cursors, counts) = try await queue.write { database in
            if try Int.fetchOne(database, sql: "PRAGMA user_version") != Self.layout {
                try Self.makeTables(database)
            }
            let known = try Row.fetchAll(database, sql: "SELECT pattern, cursor FROM cursors")
            let cursors = Dictionary(
                uniqueKeysWithValues: known.map { ($0["pattern"] as String, $0["cursor"] as String) })
            return (patterns.map { cursors[$0] }, try NamespaceCounts(database))
        }
        state.withLock { $0 = State(queue: queue, counts: counts) }
        return cursors
    }

    private static func makeQueue(_ path: String?) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = "search"
        configuration.qos = .utility
        configuration.prepareDatabase { database in
            // It is worth no fsync: a machine that crashes leaves it damaged, which is noticed, or a little behind.
            try database.execute(
                // Alone with its file it maps no memory of that: what somebody else does to it is an error, and no signal.
                sql:
                    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY"
            )
        }
        guard let path else { return try DatabaseQueue(configuration: configuration) }
        configuration.journalMode = .wal
        return try DatabaseQueue(path: path, configuration: configuration)
    }

    private static func makeTables(_ database: Database) throws {
        for table in ["documents_text", "documents", "sources", "uses", "cursors"] {
            try database.execute(sql: "DROP TABLE IF EXISTS \(table)")
        }
        try database.execute(
            sql: """
                CREATE TABLE documents (
                    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
                    topic TEXT NOT NULL, folded TEXT NOT NULL, tags TEXT NOT NULL, body TEXT NOT NULL, session TEXT, confidence REAL NOT NULL,
                    created INTEGER NOT NULL
                );
                CREATE INDEX documents_by_name ON documents (name, kind);
                CREATE INDEX documents_by_topic ON documents (folded, key) WHERE kind = 1;
                CREATE VIRTUAL TABLE documents_text USING fts5 (
                    topic, tags, body, content = 'documents', content_rowid = 'id', tokenize = "unicode61 remove_diacritics 2"
                );
                CREATE TABLE sources (knowledge TEXT, agent TEXT, confidence REAL NOT NULL, seen INTEGER NOT NULL, PRIMARY KEY (knowledge, agent)) WITHOUT ROWID;
                CREATE TABLE uses (knowledge TEXT, epoch TEXT, count INTEGER NOT NULL, PRIMARY KEY (knowledge, epoch)) WITHOUT ROWID;
                CREATE TABLE cursors (pattern TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
                PRAGMA user_version = \(layout);
                """)
    }

    package func apply(_ portion: Portion) async throws {
        guard let queue else { throw DatabaseError(message: "it is not open") }
        let changes = try await queue.write { database in
            var changes = NamespaceCounts()
            for change in portion.changes { try IndexedChange(change)?.apply(to: database, counting: &changes) }
            for (index, cursor) in portion.cursors where Self.patterns.indices.contains(index) {
                try database.cachedStatement(sql: "INSERT OR REPLACE INTO cursors VALUES (?, ?)")
                    .execute(arguments: [Self.patterns[index], cursor])
            }
            return changes
        }
        state.withLock { $0.counts.add(changes) }
        frequencies.withLock { $0.note(changes: portion.changes.count) }
    }

    /// Has searches that wait find nothing.
    package func refuseMore() { closing.store(true, ordering: .relaxed) }

    /// Closes the file: whoever looks for it finds nothing any more.
    package func close() async throws {
        refuseMore()
        let old = state.withLock { state in
            defer { state = State() }
            return state.queue
        }
        try old?.close()
    }

    package func discard() async throws {
        let old = state.withLock { state in
            defer { state = State() }
            return state.queue
        }
        try? old?.close()
        if let path { try Self.delete(at: path) }
    }

    /// Where the index of a database is kept.
    package static func path(beside database: String) -> String { database + ".search" }

    /// Deletes an index, where there is one.
    package static func delete(at path: String) throws {
        for suffix in ["", "-wal", "-shm"] where unlink(path + suffix) != 0 && errno != ENOENT {
            throw DatabaseError(message: "\(path + suffix) cannot be deleted: \(String(cString: strerror(errno)))")
        }
    }
}

/// How many documents there are of each kind and namespace.
package struct NamespaceCounts: Sendable {
    package struct Namespace: Hashable, Sendable {
        package var kind: DocumentKind
        /// The agent whose memories they are, as it stands in keys; empty for knowledge.
        package var name: String
    }

    package private(set) var documents: [Namespace: Int] = [:]

    init() {}

    init(_ database: Database) throws {
        for row in try Row.fetchAll(
            database, sql: "SELECT kind, namespace, COUNT(*) FROM documents GROUP BY kind, namespace")
        {
            guard let kind = DocumentKind(rawValue: row[0]) else { continue }
            documents[Namespace(kind: kind, name: row[1])] = row[2]
        }
    }

    mutating func add(_ namespace: Namespace, _ change: Int) {
        documents[namespace, default: 0] += change
        if documents[namespace] == 0 { documents[namespace] = nil }
    }

    mutating func add(_ others: NamespaceCounts) {
        for (namespace, change) in others.documents { add(namespace, change) }
    }
}

/// What can be found.
package enum DocumentKind: Int, Sendable {
    case memory = 0
    case knowledge = 1
}
