import Access
import Agents
import Dispatch
import Foundation
import GRDB
import GRDBSQLite
package import Registers
package import SyncProtocol
import Synchronization

/// A register that a search may have found: what the index knows of it, which is to be looked up.
package struct SearchHit: Sendable {
    package var key: Key
    package var kind: DocumentKind
    package var score: Double
    /// The greatest confidence that anybody has said of it.
    package var confidence: Double
    /// How often it was found and told, as far as that was noted.
    package var uses: UInt64
}

/// What a search found.
package struct SearchHits: Sendable {
    package var hits: [SearchHit] = []
    /// Whether all was looked at: else there was no time, or there is no index yet.
    package var isComplete = true
}

extension SearchIndex {
    /// How many searches may wait, and how many agents are named that remember something.
    private static let maximumWaiting = 64
    private static let maximumAgents = 3
    /// How long a search may take, in milliseconds.
    private static let patience = 200
    /// How many texts that have the words are ranked: the newest. A word that is in most of them says little of any.
    private static let ranked = 1_024
    /// In how many texts a word is that says little of any.
    private static let common = 2_000
    /// In how many texts words are looked for as they stand, where the index has found none.
    private static let scanned = 65_536

    /// Finds what a search may mean, the best first.
    ///
    /// - Parameters:
    ///   - count: how many are wanted at most.
    ///   - isOpen: whether everything may be read: then ranks go by all texts. Else by the find alone, or they would tell of others.
    ///   - isWanted: whether somebody still waits for it.
    ///   - mayRead: whether a key may be told of at all. What may not be is not counted, and not ranked.
    package func find(
        _ search: Search, count: Int, isOpen: Bool = true, isWanted: @escaping @Sendable () -> Bool = { true },
        mayRead: @escaping @Sendable (Key) -> Bool
    ) async -> SearchHits {
        guard let queue, let turn = Turn(self) else { return SearchHits(isComplete: false) }
        defer { turn.end() }
        let found = try? await queue.read { database in
            try self.limited(database, isWanted) {
                if search.match == .any {
                    return try self.anyHits(database, search, isOpen: isOpen, mayRead: mayRead)
                }
                let query = SearchQuery(search.query)
                var hits = try Self.hits(database, search, for: query, isOpen: isOpen, mayRead: mayRead)
                // Words that are all there, and not together, are no parts of others. Whether they are there is told only to who reads everything.
                if try hits.isEmpty && (!isOpen || Self.hasUnknown(query, database)) {
                    hits = try Self.scan(database, search, isOpen: isOpen, mayRead: mayRead)
                }
                return hits
            }
        }
        guard let found else { return SearchHits(isComplete: false) }
        var left = search.limits.mapValues { $0 + count - search.limit }
        let wanted = found.filter { hit in
            let kind = hit.kind == .memory ? SearchKind.memory : .knowledge
            guard let room = left[kind] else { return true }
            left[kind] = room - 1
            return room > 0
        }
        return SearchHits(hits: search.limits.isEmpty ? Array(found.prefix(count)) : wanted)
    }

    private final class Deadline {
        let at: DispatchTime

        init(_ at: DispatchTime) { self.at = at }
    }

    /// A search that waits for its turn, or has it. There are not many at a time: each may take a while.
    private struct Turn {
        let index: SearchIndex

        /// - Returns: nil: there are as many as there may be, or the index is closing.
        init?(_ index: SearchIndex) {
            if index.isClosing { return nil }
            self.index = index
            guard index.waiting.add(1, ordering: .relaxed).newValue > SearchIndex.maximumWaiting else { return }
            end()
            return nil
        }

        func end() { index.waiting.subtract(1, ordering: .relaxed) }
    }

    struct Unwanted: Error {}

    /// Ends what takes too long: the more wait, the sooner.
    private func limited<Result>(
        _ database: Database, _ isWanted: () -> Bool = { true }, _ body: () throws -> Result
    ) throws -> Result {
        guard isWanted(), !isClosing else { throw Unwanted() }
        let share = max(1, waiting.load(ordering: .relaxed) / 4)
        let deadline = Deadline(.now() + .milliseconds(Self.patience / share))
        guard let connection = database.sqliteConnection else { return try body() }
        sqlite3_progress_handler(
            connection, 10_000,
            { pointer in
                guard let pointer else { return 0 }
                let deadline = Unmanaged<Deadline>.fromOpaque(pointer).takeUnretainedValue()
                return DispatchTime.now() > deadline.at ? 1 : 0
            }, Unmanaged.passUnretained(deadline).toOpaque())
        defer {
            sqlite3_progress_handler(connection, 0, nil, nil)
            withExtendedLifetime(deadline) {}
        }
        return try body()
    }

    /// The texts that have the words, the newest of them, ranked.
    ///
    /// BM25 looks at every text that has a word, to know how many there are. So words that are in many texts have no part in it: they are asked for, and
    /// say little.
    private static func hits(
        _ database: Database, _ search: Search, for query: SearchQuery, isOpen: Bool,
        mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        guard let match = query.match else { return [] }
        let terms = query.alternatives.joined()
        let rare = isOpen ? try terms.filter { try frequency(of: $0, database) < common } : []
        let (conditions, arguments) = conditions(search)
        let weights = SearchRanking.weights
        let isRanked = rare.count == terms.count
        let rank = isRanked ? "bm25(documents_text, \(weights.topic), \(weights.tags), \(weights.text))" : "0.0"
        let rows = try Row.fetchCursor(
            database,
            sql: """
                SELECT d.key, d.kind, d.name, d.tags, d.confidence, \(rank), d.id
                FROM documents_text JOIN documents d ON d.id = documents_text.rowid
                WHERE documents_text MATCH ?\(conditions) ORDER BY documents_text.rowid DESC
                """, arguments: [match] + arguments)
        let ranks =
            if isRanked { [Int64: Double]() } else if isOpen { try self.ranks(of: rare, database) } else {
                try self.places(of: query, database)
            }
        return try ranked(rows, database, search, isOpen, mayRead) { ranks[$0] }
    }

    /// In how many texts a term is, up to what counts as many.
    private static func frequency(of term: SearchQuery.Term, _ database: Database) throws -> Int {
        guard let match = SearchQuery([[term]]).match else { return 0 }
        return try Int.fetchOne(
            database.cachedStatement(
                sql: "SELECT COUNT(*) FROM (SELECT 1 FROM documents_text WHERE documents_text MATCH ? LIMIT \(common))"),
            arguments: [match]) ?? 0
    }

    private static func hasUnknown(_ query: SearchQuery, _ database: Database) throws -> Bool {
        try query.alternatives.isEmpty || query.alternatives.joined().contains { try frequency(of: $0, database) == 0 }
    }

    /// The rank of texts that have a word in their topic, or in their tags: by nothing but themselves.
    private static func places(of query: SearchQuery, _ database: Database) throws -> [Int64: Double] {
        guard let match = SearchQuery(query.alternatives.joined().map { [$0] }).match else { return [:] }
        var ranks: [Int64: Double] = [:]
        for (column, weight) in [("topic", SearchRanking.weights.topic), ("tags", SearchRanking.weights.tags)] {
            let rows = try Row.fetchCursor(
                database,
                sql: "SELECT rowid FROM documents_text WHERE documents_text MATCH ? ORDER BY rowid DESC LIMIT 20000",
                arguments: ["{\(column)} : (\(match))"])
            while let row = try rows.next() { ranks[row[0], default: 0] -= weight }
        }
        return ranks
    }

    /// The rank by some terms of each text that has any of them.
    private static func ranks(of terms: [SearchQuery.Term], _ database: Database) throws -> [Int64: Double] {
        guard let match = SearchQuery(terms.map { [$0] }).match else { return [:] }
        let weights = SearchRanking.weights
        let rows = try Row.fetchCursor(
            database,
            sql: "SELECT rowid, bm25(documents_text, ?, ?, ?) FROM documents_text WHERE documents_text MATCH ?",
            arguments: [weights.topic, weights.tags, weights.text, match])
        var ranks: [Int64: Double] = [:]
        while let row = try rows.next() { ranks[row[0]] = row[1] }
        return ranks
    }

    /// Where the index finds nothing the words may stand within others: then texts are looked through, as many as there is time for.
    private static func scan(
        _ database: Database, _ search: Search, isOpen: Bool, mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        let text = String(decoding: search.query, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard !text.isEmpty else { return [] }
        let (conditions, arguments) = conditions(search)
        let pattern =
            "%" + text.replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_") + "%"
        let rows = try Row.fetchCursor(
            database,
            sql: """
                SELECT d.key, d.kind, d.name, d.tags, d.confidence, -1.0, d.id
                FROM (SELECT * FROM documents ORDER BY id DESC LIMIT \(scanned)) d
                WHERE (d.topic LIKE ? ESCAPE '\\' OR d.body LIKE ? ESCAPE '\\' OR d.tags LIKE ? ESCAPE '\\')\(conditions)
                """, arguments: [pattern, pattern, pattern] + arguments)
        return try ranked(rows, database, search, isOpen, mayRead)
    }

    static func conditions(_ search: Search) -> (sql: String, arguments: StatementArguments) {
        var sql = ""
        var arguments = StatementArguments()
        if search.kinds.count == 1 {
            sql += " AND d.kind = ?"
            arguments += [
                search.kinds.contains(.memory) ? DocumentKind.memory.rawValue : DocumentKind.knowledge.rawValue
            ]
        }
        if let agent = search.agent {
            sql += " AND d.kind = 0 AND d.namespace = ?"
            arguments += [String(decoding: agent.escaped, as: UTF8.self)]
        }
        if let session = search.exceptSession {
            sql += " AND d.session IS NOT ?"
            arguments += [String(decoding: session, as: UTF8.self)]
        }
        return (sql, arguments)
    }

    static func ranked(
        _ rows: RowCursor, _ database: Database, _ search: Search, _ isOpen: Bool, _ mayRead: (Key) -> Bool,
        rank: (Int64) -> Double? = { _ in nil }
    ) throws -> [SearchHit] {
        let matcher = search.pattern.map(Pattern.Matcher.init)
        var hits: [SearchHit] = []
        while hits.count < ranked, let row = try rows.next() {
            guard let key = try? Key(row[0] as String), let kind = DocumentKind(rawValue: row[1]), mayRead(key),
                matcher?.matches(key) ?? true, search.tags.allSatisfy({ Tags.has($0, in: row[3]) })
            else { continue }
            var hit = SearchHit(key: key, kind: kind, score: 0, confidence: row[4], uses: 0)
            if kind == .knowledge, isOpen { try complete(&hit, of: row[2], database) }
            hit.score = SearchRanking.score(bm25: rank(row[6]) ?? row[5], confidence: hit.confidence, uses: hit.uses)
            hits.append(hit)
        }
        switch search.order {
        case .relevance: hits.sort { $0.score > $1.score }
        case .seed: hits.sort { ($0.confidence, Double($0.uses)) > ($1.confidence, Double($1.uses)) }
        }
        return hits
    }

    private static func complete(_ hit: inout SearchHit, of id: String, _ database: Database) throws {
        let confidence = try Double.fetchOne(
            database.cachedStatement(
                // What was said of one that was deleted meanwhile is not said of this.
                sql: """
                    SELECT MAX(s.confidence) FROM sources s JOIN documents d ON d.name = s.knowledge AND d.kind = 1
                    WHERE s.knowledge = ? AND s.seen >= d.created
                    """), arguments: [id])
        hit.confidence = min(1, max(hit.confidence, confidence ?? 0))
        let uses = try Int64.fetchOne(
            database.cachedStatement(sql: "SELECT SUM(count) FROM uses WHERE knowledge = ?"), arguments: [id])
        hit.uses = UInt64(max(0, uses ?? 0))
    }

    // MARK: Lists

    /// Agents that remember something under a name.
    package func agents(remembering name: [UInt8], mayRead: @escaping @Sendable (Key) -> Bool) async -> [String] {
        guard let queue, let turn = Turn(self) else { return [] }
        defer { turn.end() }
        let found = try? await queue.read { database in
            try self.limited(database) {
                let rows = try String.fetchCursor(
                    database, sql: "SELECT key FROM documents WHERE name = ? AND kind = 0 ORDER BY namespace",
                    arguments: [String(decoding: name, as: UTF8.self)])
                var agents: [String] = []
                while agents.count < Self.maximumAgents, let text = try rows.next() {
                    guard let key = try? Key(text), mayRead(key), let memory = MemoryKey(key) else { continue }
                    agents.append(memory.agent.description)
                }
                return agents
            }
        }
        return found ?? []
    }

    /// The memories that were written last, the newest first.
    package func newest(_ limit: Int, mayRead: @escaping @Sendable (Key) -> Bool) async -> [MemoryKey] {
        guard let queue, let turn = Turn(self) else { return [] }
        defer { turn.end() }
        let found = try? await queue.read { database in
            try self.limited(database) {
                let rows = try String.fetchCursor(
                    database, sql: "SELECT key FROM documents WHERE kind = 0 ORDER BY id DESC")
                var memories: [MemoryKey] = []
                while memories.count < limit, let text = try rows.next() {
                    guard let key = try? Key(text), mayRead(key), let memory = MemoryKey(key) else { continue }
                    memories.append(memory)
                }
                return memories
            }
        }
        return found ?? []
    }

    /// The keys of knowledge with a topic, or a tag, in their order.
    package func topics(
        _ filter: KnowledgeFilter, isOpen: Bool = true, mayRead: @escaping @Sendable (Key) -> Bool
    ) async -> SearchHits {
        guard let queue, let turn = Turn(self) else { return SearchHits(isComplete: false) }
        defer { turn.end() }
        let found = try? await queue.read { database in
            try self.limited(database) {
                var sql = "SELECT key, kind, name, tags, confidence FROM documents WHERE kind = 1"
                var arguments = StatementArguments()
                if let topic = filter.topic {
                    sql += " AND folded = ?"
                    arguments += [String(decoding: topic, as: UTF8.self).lowercased()]
                }
                if let after = filter.after {
                    sql += " AND key > ?"
                    arguments += [String(decoding: after.bytes, as: UTF8.self)]
                }
                let rows = try Row.fetchCursor(database, sql: sql + " ORDER BY key", arguments: arguments)
                var hits: [SearchHit] = []
                while hits.count < filter.limit, let row = try rows.next() {
                    guard let key = try? Key(row[0] as String), mayRead(key),
                        filter.tag.map({ Tags.has($0, in: row[3]) }) ?? true
                    else { continue }
                    var hit = SearchHit(key: key, kind: .knowledge, score: 0, confidence: row[4], uses: 0)
                    if isOpen { try Self.complete(&hit, of: row[2], database) }
                    hits.append(hit)
                }
                return hits
            }
        }
        return found.map { SearchHits(hits: $0) } ?? SearchHits(isComplete: false)
    }

    /// What is known of one knowledge: the greatest confidence that anybody has said, and how often it was found.
    package func facts(of id: Segment) async -> (confidence: Double, uses: UInt64) {
        let hit = try? await queue?.read { database in
            var hit = SearchHit(key: Key(unchecked: []), kind: .knowledge, score: 0, confidence: 0, uses: 0)
            try Self.complete(&hit, of: String(decoding: id.escaped, as: UTF8.self), database)
            return hit
        }
        return (hit?.confidence ?? 0, hit?.uses ?? 0)
    }
}
