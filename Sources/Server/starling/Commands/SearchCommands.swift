import ArgumentParser
import SyncClient
import SyncProtocol

/// What all commands that search have.
struct SearchOptions: ParsableArguments {
    @Argument(
        parsing: .allUnrecognized,
        help: "Words, all of which have to be there; '\"a phrase\"'; 'begin*'; 'one OR other'. Nothing else is syntax.")
    var query: [String]

    @Option(name: .customLong("of"), help: ArgumentHelp("Only what this agent remembers.", valueName: "agent"))
    var owner: String?

    @Option(
        name: .customLong("tag"), help: ArgumentHelp("All of these are to be there; may be repeated.", valueName: "tag")
    )
    var tags: [String] = []

    @Option(help: ArgumentHelp("At most so many: up to 100.", valueName: "count"))
    var limit: Int = 10

    @OptionGroup var options: ClientOptions

    /// - Parameter kinds: what to look for; empty: everything.
    func run(in kinds: [String]) async throws {
        let fields =
            JSON.member("query", query.joined(separator: " ")) + JSON.member("in", kinds) + JSON.member("agent", owner)
            + JSON.member("tags", tags) + JSON.member("limit", number: limit)
        let answer = try await options.ask(ServiceCall.Name.search.rawValue, fields)
        let results = (answer.array("results") ?? []).compactMap { try? JSONObject($0) }
        options.show(answer) { answer in
            for result in results { Output.line(Self.line(result)) }
            if answer.bool("complete") != true { Output.complaint("the index is being made: there may be more") }
            if results.isEmpty { Output.complaint("nothing found\(Self.searched(answer))") }
        }
        if results.isEmpty { throw ExitCode(1) }
    }

    private static func line(_ result: JSONObject) -> String {
        let names = result.string("kind") == "memory" ? ["agent_id", "name"] : ["knowledge", "topic"]
        return (names + ["snippet"]).map { SwarmView.plain(result.string($0) ?? "") }.joined(separator: "\t")
    }

    private static func searched(_ answer: JSONObject) -> String {
        guard let searched = answer.object("searched") else { return "" }
        let counts = ["memory", "knowledge"].compactMap { kind in
            searched.raw(kind).map { _ in "\(searched.integer(kind).map { "\($0)" } ?? "?") of \(kind)" }
        }
        return " in \(counts.joined(separator: " and "))"
    }
}

/// `starling search`
struct SearchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Find what agents remember and know, by its words.",
        discussion: """
            Each line is an agent (or the name of knowledge), a tab, the key (or the topic), a tab, and a part of the text. The best stands \
            first. Exits with 1 when nothing is found.
            """)

    @Option(name: .customLong("in"), help: ArgumentHelp("memory or knowledge. (default: both)", valueName: "kind"))
    var kinds: [String] = []

    @OptionGroup var search: SearchOptions

    func run() async throws { try await search.run(in: kinds) }
}

/// `starling memory search`
struct MemorySearch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Find what agents remember: as 'starling search --in memory'.")

    @OptionGroup var search: SearchOptions

    func run() async throws { try await search.run(in: ["memory"]) }
}

/// `starling knowledge search`
struct KnowledgeSearch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Find what agents know: as 'starling search --in knowledge'.")

    @OptionGroup var search: SearchOptions

    func run() async throws { try await search.run(in: ["knowledge"]) }
}

/// `starling knowledge`
struct KnowledgeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "knowledge", abstract: "Say what an agent knows, and see what is known.",
        subcommands: [
            KnowledgeAdd.self, KnowledgeShow.self, KnowledgeList.self, KnowledgeDelete.self, KnowledgeSearch.self,
        ])
}

/// `starling knowledge add`
struct KnowledgeAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Say what an agent knows.",
        discussion: "The same text twice is one knowledge, whoever says it. Its name is printed.")

    @Argument(help: "What it is about.")
    var topic: String

    @Argument(help: "What is known of that.")
    var content: String

    @Option(name: .customLong("tag"), help: ArgumentHelp("May be repeated.", valueName: "tag"))
    var tags: [String] = []

    @Option(help: "Where it is from.")
    var source: String?

    @Option(help: "How sure it is, from 0 to 1. (default: 1)")
    var confidence: Double?

    @Option(help: ArgumentHelp("A name of its own for it.", valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp("What it takes the place of: a note for who finds it.", valueName: "name"))
    var supersedes: String?

    @Option(help: ArgumentHelp("How long it lives; without it, for ever.", valueName: "seconds"))
    var ttl: Double?

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let fields =
            JSON.member("topic", topic) + JSON.member("content", content) + JSON.member("tags", tags)
            + JSON.member("source", source) + JSON.member("confidence", number: confidence)
            + JSON.member("knowledge", name) + JSON.member("supersedes", supersedes)
            + JSON.member("ttl", number: ttl)
        options.show(try await options.ask(ServiceCall.Name.knowledgePut.rawValue, fields)) { answer in
            Output.line(answer.string("knowledge") ?? "")
        }
    }
}

/// `starling knowledge show`
struct KnowledgeShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Print what is known under a name, how sure it is, and how often it was found.",
        discussion: "Exits with 1 when there is no such knowledge.")

    @Argument(help: "Its name.")
    var name: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.ask(ServiceCall.Name.knowledgeGet.rawValue, JSON.member("knowledge", name))
        guard answer.bool("found") == true else {
            if options.json { Output.line(answer.line) } else { Output.complaint("there is no knowledge \(name)") }
            throw ExitCode(1)
        }
        options.show(answer) { answer in
            let value = answer.object("value")
            for (name, json) in [
                ("topic", value?.raw("topic")), ("content", value?.raw("content")), ("tags", value?.raw("tags")),
                ("source", value?.raw("source")), ("confidence", answer.raw("confidence")),
                ("found", answer.raw("usage_count")),
            ] { Output.line("\(name)\t\(JSON.line(json))") }
        }
    }
}

/// `starling knowledge delete`
struct KnowledgeDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Forget what is known under a name, whoever said it.")

    @Argument(help: "Its name.")
    var name: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let key = "knowledge:\(try SwarmNames.escaped(name))"
        options.show(try await options.ask("delete", JSON.member("key", key))) { answer in
            Output.line(answer.string("key") ?? "")
        }
    }
}

/// `starling knowledge list`
struct KnowledgeList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List what is known of a topic, or under a tag.",
        discussion: "Each line is a name, a tab, the topic, a tab, and the beginning of the content.")

    @Option(help: "In whatever case.")
    var topic: String?

    @Option(help: "One that it has.")
    var tag: String?

    @OptionGroup var options: ClientOptions

    func run() async throws {
        var after: String?
        repeat {
            let fields = JSON.member("topic", topic) + JSON.member("tag", tag) + JSON.member("after", after)
            let answer = try await options.ask(ServiceCall.Name.knowledgeList.rawValue, fields)
            for result in (answer.array("results") ?? []).compactMap({ try? JSONObject($0) }) {
                options.show(result) { result in
                    let parts = ["knowledge", "topic", "snippet"].map { SwarmView.plain(result.string($0) ?? "") }
                    Output.line(parts.joined(separator: "\t"))
                }
            }
            after = answer.string("next")
        } while after != nil
    }
}
