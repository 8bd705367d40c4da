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
    /// How many texts are looked at in all, and in how many a word is that finds nothing by itself.
    private static let budget = 128
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
            ? try rareHits(database, search, try rarest(of: terms, database), mayRead: mayRead)
            : try longHits(database, search, terms, mayRead: mayRead)
    }

    private func rareHits(
        _ database: Database, _ search: Search, _ terms: [SearchQuery.Term], mayRead: (Key) -> Bool
    ) throws -> [SearchHit] {
        guard let match = SearchQuery(terms.map { [$0] }).match else { return [] }
        let (conditions, arguments) = Self.conditions(search)
        let weights = SearchRanking.weights
        let rows = try Row.fetchCursor(
            database.cachedStatement(
                sql: """
                    SELECT d.key, d.kind, d.name, d.tags, d.confidence, bm25(documents_text, \(weights.topic), \(weights.tags), \(weights.text)), d.id
                    FROM documents_text JOIN documents d ON d.id = documents_text.rowid
                    WHERE documents_text MATCH ?\(conditions) ORDER BY documents_text.rowid DESC
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

    /// Those of some terms that are in the fewest texts, and in any.
    private func rarest(of terms: [SearchQuery.Term], _ database: Database) throws -> [SearchQuery.Term] {
        let counted = try terms.prefix(Self.considered).map { term in
            (term: term, count: try frequency(of: term, database))
        }
        var chosen: [SearchQuery.Term] = []
        var sum = 0
        for (term, count) in counted.filter({ $0.count > 0 }).sorted(by: { $0.count < $1.count }) {
            guard chosen.count < Self.maximumTerms, chosen.isEmpty || sum + count <= Self.budget else { break }
            sum += count
            chosen.append(term)
        }
        return chosen
    }

    /// In how many texts a term is, up to what is too many.
    private func frequency(of term: SearchQuery.Term, _ database: Database) throws -> Int {
        try frequencies.withLock { frequencies in
            try frequencies.count(of: term.text) {
                guard let match = SearchQuery([[term]]).match else { return 0 }
                return try Int.fetchOne(
                    database.cachedStatement(
                        sql:
                            "SELECT COUNT(*) FROM (SELECT 1 FROM documents_text WHERE documents_text MATCH ? LIMIT \(Self.budget + 1))"
                    ), arguments: [match]) ?? 0
            }
        }
    }
}
