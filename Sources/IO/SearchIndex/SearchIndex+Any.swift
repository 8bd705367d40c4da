import Agents
import GRDB
import Registers
import SyncProtocol
import Synchronization

/// Looking for some of many words: what a prompt has is mostly of no use to find anything by.
extension SearchIndex {
    /// How many words of a query are looked at, and by how many of them texts are looked for.
    private static let considered = 48
    private static let maximumTerms = 8
    /// How many texts are looked at in all. A word that is in more finds nothing by itself.
    private static let budget = 64
    /// Up to how many texts are counted that have a word; and of how many such words two have to be there.
    private static let counted = 1_024
    private static let maximumCommonTerms = 4
    /// How many words count of who may not read all, in how many texts each is looked for, and how many finds there are then.
    private static let maximumLongTerms = 4
    private static let maximumOfTerm = 4_096
    private static let wanted = 128
    /// How many words it is kept of in how many texts they are, and for how many changes of the index.
    private static let maximumKnown = 8_192
    private static let staleness = 512

    /// In how many texts words are, as it was a while ago: to know which are rare that is good enough.
    struct Frequencies {
        private var counts: [String: Int] = [:]
        private var changes = 0

        mutating func count(of word: String, _ look: () throws -> Int) rethrows -> Int {
            if let known = counts[word] { return known }
            let count = try look()
            if counts.count >= SearchIndex.maximumKnown { counts = [:] }
            counts[word] = count
            return count
        }

        mutating func note(changes more: Int) {
            changes += more
            guard changes >= SearchIndex.staleness else { return }
            changes = 0
            counts = [:]
        }
    }

    /// The texts that have some of the words of a query, the best first.
    ///
    /// Which words are rare, and what BM25 says, goes by all texts. Who may not read all is not to be told by that of others: then the longest words
    /// count, and a text that has more of them stands first.
    func anyHits(
        _ database: Database, _ search: Search, isOpen: Bool, mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        let terms = SearchQuery.terms(of: search.query)
        return isOpen
            ? try rareHits(database, search, terms, mayRead: mayRead)
            : try longHits(database, search, terms, mayRead: mayRead)
    }

    private func rareHits(
        _ database: Database, _ search: Search, _ terms: [SearchQuery.Term], mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        let counted = try terms.prefix(Self.considered).map { (term: $0, count: try frequency(of: $0, database)) }
            .filter { $0.count > 0 }.sorted {
                ($0.count, $1.term.text.utf8.count) < ($1.count, $0.term.text.utf8.count)
            }
        var rare: [SearchQuery.Term] = []
        var sum = 0
        for (term, count) in counted where rare.count < Self.maximumTerms && sum + count <= Self.budget {
            sum += count
            rare.append(term)
        }
        if !rare.isEmpty {
            let weights = SearchRanking.weights
            let rank = "bm25(documents_text, \(weights.topic), \(weights.tags), \(weights.text))"
            return try hits(SearchQuery(rare.map { [$0] }), ranked: rank, database, search, mayRead: mayRead)
        }
        // Each of them says little by itself: what has two of them, the newest first.
        let common = counted.prefix(Self.maximumCommonTerms).map(\.term)
        let pairs = common.indices.flatMap { first in common[(first + 1)...].map { [common[first], $0] } }
        return try hits(SearchQuery(pairs), ranked: "-1.0", database, search, mayRead: mayRead)
    }

    private func hits(
        _ query: SearchQuery, ranked rank: String, _ database: Database, _ search: Search, mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        guard let match = query.match else { return [] }
        let (conditions, arguments) = Self.conditions(search)
        let rows = try Row.fetchCursor(
            database.cachedStatement(
                sql: """
                    SELECT d.key, d.kind, d.name, d.tags, d.confidence, \(rank), d.id
                    FROM documents_text JOIN documents d ON d.id = documents_text.rowid
                    WHERE documents_text MATCH ?\(conditions) ORDER BY documents_text.rowid DESC LIMIT \(Self.budget)
                    """), arguments: [match] + arguments)
        return try Self.ranked(rows, database, search, true, mayRead)
    }

    private func longHits(
        _ database: Database, _ search: Search, _ terms: [SearchQuery.Term], mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        let longest = terms.sorted { $0.text.utf8.count > $1.text.utf8.count }.prefix(Self.maximumLongTerms)
        var counts: [Int64: Int] = [:]
        for term in longest {
            guard let match = SearchQuery([[term]]).match else { continue }
            let rows = try Int64.fetchCursor(
                database.cachedStatement(
                    sql:
                        "SELECT rowid FROM documents_text WHERE documents_text MATCH ? ORDER BY rowid DESC LIMIT \(Self.maximumOfTerm)"
                ), arguments: [match])
            while let row = try rows.next() { counts[row, default: 0] += 1 }
        }
        let (conditions, arguments) = Self.conditions(search)
        let statement = try database.cachedStatement(
            sql:
                "SELECT d.key, d.kind, d.name, d.tags, d.confidence, -1.0, d.id FROM documents d WHERE d.id = ?\(conditions)"
        )
        var hits: [SearchHit] = []
        for (row, count) in counts.sorted(by: { ($1.value, $1.key) < ($0.value, $0.key) })
        where hits.count < Self.wanted {
            let rows = try Row.fetchCursor(statement, arguments: [row] + arguments)
            for var hit in try Self.ranked(rows, database, search, false, mayRead) {
                hit.score *= Double(count)
                hits.append(hit)
            }
        }
        return hits.sorted { $0.score > $1.score }
    }

    /// In how many texts a term is, up to what is too many.
    private func frequency(of term: SearchQuery.Term, _ database: Database) throws -> Int {
        try frequencies.withLock { frequencies in
            try frequencies.count(of: term.text) {
                guard let match = SearchQuery([[term]]).match else { return 0 }
                return try Int.fetchOne(
                    database.cachedStatement(
                        sql:
                            "SELECT COUNT(*) FROM (SELECT 1 FROM documents_text WHERE documents_text MATCH ? LIMIT \(Self.counted))"
                    ), arguments: [match]) ?? 0
            }
        }
    }
}
