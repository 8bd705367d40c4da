import Foundation
import Registers
import StarlingServer
import SyncProtocol
import Testing

extension ConformanceTests {
    /// Tokens × calls and routes of memory, knowledge, search and hooks, generated: each is told of what its patterns say, and of nothing else.
    ///
    /// Every register has the word that is looked for, and one of its own, by which it is told from the others in whatever answer.
    struct MemoryMatrixTests {
        private struct Stored {
            var key: String
            /// What tells that it was shown.
            var trace: String
            var isKnowledge: Bool { key.hasPrefix("knowledge:") }
        }

        private static let stored =
            ["ada", "bob", "a:b", "eve*"].enumerated().flatMap { index, agent in
                ["open", "secret/x"].enumerated().map { place, name in
                    Stored(
                        key: "memory:\(agent.replacingOccurrences(of: ":", with: "%3A")):\(name)",
                        trace: "trace\(index)m\(place)")
                }
            } + ["public", "hidden", "k-x"].enumerated().map { Stored(key: "knowledge:\($1)", trace: "tracek\($0)") }

        private static let tokens: [(id: String, read: [String])] = [
            ("all", ["*"]), ("nothing", []), ("ada", ["memory:ada:*"]), ("secrets", ["memory:*:secret/*"]),
            ("known", ["knowledge:*"]),
            ("one", ["knowledge:public"]), ("mixed", ["memory:a%3Ab:*", "knowledge:k-*"]),
            ("star", ["memory:eve\\*:open"]),
            ("elsewhere", ["session:*"]),
        ]

        private let access: AccessFixture
        private let server: ServerProcess

        init() throws {
            access = try AccessFixture()
            for (id, read) in Self.tokens { try access.add(id, read: read, write: ["session:*"]) }
            try access.add("root", read: ["*"], write: ["*"])
            server = try access.start()
            let root = try RESTClient(server, token: access.tokens["root"])
            for one in Self.stored {
                let parts = one.key.split(separator: ":", maxSplits: 2).map(String.init)
                let answer =
                    one.isKnowledge
                    ? try root.ask(
                        "PUT", "/v1/knowledge/\(parts[1])",
                        #"{"topic":"needle","content":"\#(one.trace)","tags":["t"]}"#)
                    : try root.ask(
                        "PUT",
                        "/v1/memory/\(RESTClient.escape(parts[1].replacingOccurrences(of: "%3A", with: ":")))/\(parts[2])?tag=t",
                        #""needle \#(one.trace)""#)
                #expect(200...201 ~= answer.status, "\(answer)")
            }
        }

        private func visible(_ read: [String]) throws -> [Stored] {
            try Self.stored.filter { stored in
                try read.contains { try Pattern($0).matches(Key(stored.key)) }
            }
        }

        private func check(_ answer: String, _ shown: [Stored], _ visible: [Stored], _ what: String) {
            for one in Self.stored {
                let isShown = answer.contains(one.trace)
                let isVisible = visible.contains { $0.key == one.key }
                if !isVisible {
                    #expect(!isShown && !answer.contains("\"\(one.key)\""), "\(what) shows \(one.key): \(answer)")
                }
                if shown.contains(where: { $0.key == one.key }) {
                    #expect(isShown, "\(what) does not show \(one.key): \(answer)")
                }
            }
        }

        @Test(
            "Searches, lists and hooks of each token tell of what it may read, all of that where they are to, and of nothing else"
        )
        func matrix() throws {
            for (id, read) in Self.tokens {
                let visible = try visible(read)
                let (memories, known) = (visible.filter { !$0.isKnowledge }, visible.filter(\.isKnowledge))
                let client = try RESTClient(server, token: access.tokens[id])
                for (query, shown) in [
                    ("", visible), ("&in=memory", memories), ("&in=knowledge", known), ("&tag=t", visible),
                    ("&order=seed", visible),
                    ("&pattern=memory:**", memories),
                    ("&agent=ada&in=memory", memories.filter { $0.key.hasPrefix("memory:ada:") }),
                ] {
                    let answer = try client.ask("GET", "/v1/search?limit=100&q=needle\(query)")
                    check(answer.body, shown, visible, "\(id): search \(query)")
                    guard answer.status == 200 else { continue }
                    #expect(answer.json.array("results")?.count == shown.count, "\(id): search \(query)")
                    let searched = answer.json.object("searched")
                    let counts = ["memory", "knowledge"].compactMap { searched?.integer($0) }
                    #expect(counts.reduce(0, +) <= visible.count, "\(id): \(answer)")
                }
                let listed = try client.ask("GET", "/v1/knowledge?topic=needle")
                check(listed.body, known, visible, "\(id): knowledge")
                for agent in ["ada", "bob", "a:b", "eve*"] {
                    let answer = try client.ask("GET", "/v1/memory?agent=\(RESTClient.escape(agent))")
                    let start = "memory:\(agent.replacingOccurrences(of: ":", with: "%3A")):"
                    check(
                        answer.body, answer.status == 200 ? memories.filter { $0.key.hasPrefix(start) } : [], visible,
                        "\(id): memories of \(agent)")
                    // Where it is not found, others are named that have it: those whose may be read.
                    let missed = try client.ask("GET", "/v1/memory/nobody/open")
                    let named = missed.json.array("agents")?.compactMap(JSONObject.string) ?? []
                    let may = memories.filter { $0.key.hasSuffix(":open") }.count
                    #expect(missed.status == 403 || named.count <= min(3, may), "\(id): \(missed)")
                }
                try hooks(id, client, visible)
            }
        }

        /// Every event that is answered with something; its context has up to five memories and three of what is known.
        private func hooks(_ id: String, _ client: RESTClient, _ visible: [Stored]) throws {
            let (memories, known) = (visible.filter { !$0.isKnowledge }, visible.filter(\.isKnowledge))
            for event in ["UserPromptSubmit", "SubagentStart", "TaskCreated", "pre-task", "SessionStart"] {
                let body =
                    #"{"session_id":"s-\#(id)","prompt":"the needle, please","description":"needle","task_subject":"needle"}"#
                let answer = try client.ask("POST", "/hooks/\(event)", body, ["Starling-Agent": id])
                #expect(answer.status == 200)
                check(answer.body, [], visible, "\(id): \(event)")
                if event == "UserPromptSubmit" {
                    let told = Self.stored.filter { answer.body.contains($0.trace) }
                    #expect(told.filter { !$0.isKnowledge }.count == min(5, memories.count), "\(id): \(answer)")
                    #expect(told.filter(\.isKnowledge).count == min(3, known.count), "\(id): \(answer)")
                }
            }
        }
    }
}
