import Agents
import Foundation
import Registers
import SearchIndex
import SyncProtocol
import TestSupport
import Testing

@testable import Follower

@Suite("What the index finds")
final class SearchIndexTests {
    private let folder = FileManager.default.temporaryDirectory.appending(path: "starling-\(UUID().uuidString)")
    private var path: String { folder.appending(path: "i").path }
    private let index: SearchIndex

    init() async throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        index = SearchIndex(path: folder.appending(path: "i").path)
        _ = try await index.open(patterns: SearchIndex.patterns)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    private func change(_ key: String, _ value: String?, metadata: String? = nil, session: String? = nil) throws
        -> FollowedChange
    {
        var members = [#""key":"\#(key)""#, value.map { #""value":\#($0)"# } ?? #""deleted":true"#]
        if let metadata { members.append(#""metadata":\#(metadata)"#) }
        if let session { members.append(#""session":"\#(session)""#) }
        let update = try JSONObject(Array("{\(members.joined(separator: ","))}".utf8))
        return try #require(FollowedChange(update))
    }

    private func apply(_ changes: FollowedChange...) async throws {
        var portion = Portion()
        portion.changes = changes
        try await index.apply(portion)
    }

    private func find(
        _ query: String, _ change: (inout Search) -> Void = { _ in },
        mayRead: @escaping @Sendable (Key) -> Bool = { _ in true }
    ) async throws -> [String] {
        var search = Search(query: Array(query.utf8))
        change(&search)
        let found = await index.find(search, count: 100, mayRead: mayRead)
        #expect(found.isComplete, "\(query)")
        return found.hits.map { "\($0.key)" }
    }

    @Test("Words of keys, values, topics and tags are found, whatever their case and accents, and gone when they are")
    func words() async throws {
        try await apply(
            change("memory:ada:auth/decision", #"{"text":"Tokens end after a café break","n":[42]}"#),
            change("memory:bob:note", #""use pre-edit hooks""#, metadata: #"{"starling":{"tags":["hook"]}}"#),
            change("knowledge:k1", #"{"topic":"Databases","content":"SQLite is one file","tags":["db"]}"#))
        for (query, key) in [
            ("tokens", "memory:ada:auth/decision"), ("CAFE", "memory:ada:auth/decision"),
            ("decision", "memory:ada:auth/decision"), ("42", "memory:ada:auth/decision"),
            ("pre-edit", "memory:bob:note"), ("hook", "memory:bob:note"), (#""one file""#, "knowledge:k1"),
            ("data*", "knowledge:k1"), ("db", "knowledge:k1"), ("QLit", "knowledge:k1"),
        ] { #expect(try await find(query) == [key], "\(query)") }
        #expect(try await find("tokens OR sqlite").count == 2)
        #expect(try await find("tokens sqlite").isEmpty)
        #expect(try await find(#""file one""#).isEmpty)
        try await apply(change("memory:bob:note", nil), change("knowledge:k1", #"{"topic":"t","content":"other"}"#))
        #expect(try await find("hook").isEmpty)
        #expect(try await find("sqlite").isEmpty)
        #expect(try await find("other") == ["knowledge:k1"])
    }

    @Test("No text is syntax: whatever is asked, there is an answer")
    func hostile() async throws {
        try await apply(change("memory:a:b", #""some NEAR text AND more""#))
        for query in [
            "NEAR(", "a AND", "pre-edit", "\"open", "\"\"", "*", "**", "a*b*", "OR", "OR OR", "a OR", "OR a", "NOT a",
            "^a",
            "col:a", "{a b}:c", "a + b", "(((", "a\"b\"c", "';DROP TABLE documents;--", "\u{0}", "a\u{0}b", "\u{202E}",
            "é*", "%", "_", "\\",
        ] { _ = try await find(query) }
        var random = SeededGenerator(seed: 19)
        let alphabet = Array("ab \"*()-+:^{}ORANDNEAT%_\\\u{0}é'".unicodeScalars)
        for _ in 0..<2_000 {
            let count = Int.random(in: 0..<24, using: &random)
            let scalars = (0..<count).compactMap { _ in alphabet.randomElement(using: &random) }
            _ = try await find(String(String.UnicodeScalarView(scalars)))
        }
        #expect(try await find("text") == ["memory:a:b"])
    }

    @Test("What may not be read is not there, and neither is what is not to be found")
    func hidden() async throws {
        try await apply(
            change("memory:a:x", #""word""#), change("memory:b:x", #""word""#, session: "s1"),
            change("memory:c:x", #""word""#, metadata: #"{"starling":{"index":false}}"#),
            change("knowledge:k", #"{"topic":"t","content":"word","tags":["one","two"]}"#))
        #expect(try await find("word", mayRead: { "\($0)" == "memory:a:x" }) == ["memory:a:x"])
        #expect(Set(try await find("word")) == ["memory:a:x", "memory:b:x", "knowledge:k"])
        #expect(try await find("word") { $0.kinds = [.knowledge] } == ["knowledge:k"])
        let agent = try Segment("a")
        #expect(
            try await find("word") {
                $0.agent = agent; $0.kinds = [.memory]
            } == ["memory:a:x"])
        #expect(try await find("word") { $0.tags = [Array("one".utf8), Array("two".utf8)] } == ["knowledge:k"])
        #expect(try await find("word") { $0.tags = [Array("on".utf8)] }.isEmpty)
        let pattern = try Pattern("memory:b:*")
        #expect(try await find("word") { $0.pattern = pattern } == ["memory:b:x"])
        #expect(Set(try await find("word") { $0.exceptSession = Array("s1".utf8) }) == ["memory:a:x", "knowledge:k"])
        let others = await index.agents(remembering: Array("x".utf8)) { "\($0)" != "memory:b:x" }
        #expect(others == ["a"])
    }

    @Test("The better match stands first; the surer, and what is used more, of two that are alike")
    func order() async throws {
        for number in 0..<20 { try await apply(change("memory:f:\(number)", #""filler \#(number)""#)) }
        try await apply(
            change("knowledge:topic", #"{"topic":"merge","content":"what it is about"}"#),
            change("knowledge:body", #"{"topic":"other","content":"a long text which has merge in it, and much else"}"#)
        )
        #expect(try await find("merge") == ["knowledge:topic", "knowledge:body"])
        try await apply(
            change("knowledge:sure", #"{"topic":"clock","content":"same","confidence":0.9}"#),
            change("knowledge:used", #"{"topic":"clock","content":"same","confidence":0.8}"#))
        #expect(try await find("clock") == ["knowledge:sure", "knowledge:used"])
        try await apply(
            change("usage:knowledge:used:e1", #"{"usage_count":400}"#),
            change("usage:knowledge:used:e2", #"{"usage_count":600000}"#))
        #expect(try await find("clock") == ["knowledge:used", "knowledge:sure"])
        #expect(try await find("clock") { $0.order = .seed } == ["knowledge:sure", "knowledge:used"])
        try await apply(change("knowledge:used:source:bob", #"{"confidence":1,"seen_at":0}"#))
        #expect(try await find("clock") { $0.order = .seed } == ["knowledge:used", "knowledge:sure"])
        let facts = await index.facts(of: try Segment("used"))
        #expect(facts.confidence == 1 && facts.uses == 600_400)
    }

    @Test("It goes on from where it was, with the counts that it had; and a file that is none is said to be none")
    func files() async throws {
        var portion = Portion()
        portion.changes = [
            try change("memory:a:x", #""word""#), try change("memory:a:y", #""word""#), try change("memory:a:y", nil),
        ]
        portion.cursors = [0: "c0"]
        try await index.apply(portion)
        try await index.close()
        let again = SearchIndex(path: path)
        #expect(try await again.open(patterns: SearchIndex.patterns) == ["c0", nil, nil])
        #expect(again.namespaces.map { "\($0.key.name) \($0.value)" } == ["a 1"])
        try await again.close()
        try Data(repeating: 7, count: 9_000).write(to: URL(filePath: path))
        await #expect(throws: (any Error).self) { try await SearchIndex(path: path).open(patterns: []) }
        try await again.discard()
        #expect(try await again.open(patterns: SearchIndex.patterns) == [nil, nil, nil])
    }

    @Test("A logarithm is one, to three digits")
    func logarithms() {
        for uses in [0, 1, 2, 7, 100, 12_345, 10_000_000] as [UInt64] {
            let score = SearchRanking.score(bm25: 0, confidence: 0, uses: uses)
            #expect(abs(score - 0.1 * Foundation.log(1 + Double(uses))) < 1e-4)
        }
    }

    @Test("A snippet shows where the first of the words stands, and cuts no character in two")
    func snippets() {
        let long = String(repeating: "füllung ", count: 60) + "Needle at last " + String(repeating: "é", count: 300)
        let snippet = SearchText.snippet(of: Array(long.utf8), around: [Array("needle".utf8)])
        let text = String(validating: snippet, as: UTF8.self)
        #expect(text?.contains("Needle at last") == true && text?.first == "…" && text?.last == "…")
        #expect(SearchText.snippet(of: [], around: []) == [])
        #expect(
            String(decoding: SearchText.plain(Array(#"{"a\n":["x",1.5,true,null],"b":"é"}"#.utf8)), as: UTF8.self)
                == "a\n x 1.5 b é")
    }
}
