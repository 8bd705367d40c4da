import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling memory`
struct MemoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory", abstract: "Store what an agent remembers, and find it again.",
        subcommands: [MemoryStore.self, MemoryGet.self, MemoryList.self, MemoryDelete.self, MemorySearch.self])
}

/// Which memory is meant.
struct MemoryTarget: ParsableArguments {
    @Argument(help: "The name that it is remembered under; a path such as auth/decision.")
    var key: String

    func fields(_ options: ClientOptions) throws -> [String] {
        JSON.member("agent", try options.agentName("remembers it")) + JSON.member("key", key)
    }
}

/// `starling memory store`
struct MemoryStore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Store what an agent remembers; what was there under the same name is replaced.",
        discussion: "--agent says who remembers it. Exits with 1 when the version that --expect wants is not in place.")

    @OptionGroup var target: MemoryTarget

    @Argument(help: "What it remembers: JSON, or text.")
    var value: String

    @Option(help: ArgumentHelp("How long it lives; without it, for ever.", valueName: "seconds"))
    var ttl: Double?

    @Flag(help: "Let it live for --ttl again when it is read.")
    var refreshOnRead = false

    @Option(name: .customLong("tag"), help: ArgumentHelp("May be repeated.", valueName: "tag"))
    var tags: [String] = []

    @Option(help: "The session that it is from.")
    var session: String?

    @Option(
        help: ArgumentHelp("What it is to replace, as 'starling memory get --json' shows it.", valueName: "version"))
    var expect: String?

    @Flag(help: "Store it only where nothing is remembered under that name.")
    var ifAbsent = false

    @OptionGroup var options: ClientOptions

    func validate() throws {
        if ifAbsent, expect != nil { throw ValidationError("--expect and --if-absent do not go together") }
    }

    func run() async throws {
        let fields =
            try target.fields(options) + [#""value":\#(JSON.value(value))"#] + JSON.member("ttl", number: ttl)
            + (refreshOnRead ? [#""refresh_on_read":true"#] : []) + JSON.member("tags", tags)
            + JSON.member("session", session) + (ifAbsent ? [#""expect":null"#] : JSON.member("expect", expect))
        let answer = try await options.ask(MemoryMessage.put.rawValue, fields)
        options.show(answer) { answer in
            if answer.bool("applied") == true { Output.line(answer.string("key") ?? "") }
        }
        guard answer.bool("applied") == true else {
            Output.complaint("another version of it is in place")
            throw ExitCode(1)
        }
    }
}

/// `starling memory get`
struct MemoryGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Print what an agent remembers.",
        discussion:
            "--agent says whose memory it is. Exits with 1 when there is none, and says who has one under that name.")

    @OptionGroup var target: MemoryTarget
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.ask(ServiceCall.Name.memoryGet.rawValue, target.fields(options))
        options.show(answer) { answer in
            if answer.bool("found") == true { Output.line(JSON.line(answer.raw("value"))) }
        }
        guard answer.bool("found") != true else { return }
        let others = (answer.array("agents") ?? []).compactMap(JSONObject.string).map(SwarmView.plain)
        let hint = others.isEmpty ? "" : "; --agent \(others.joined(separator: ", or --agent ")) does"
        Output.complaint("\(options.agent ?? "") remembers nothing under \(target.key)\(hint)")
        throw ExitCode(1)
    }
}

/// `starling memory list`
struct MemoryList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List what an agent remembers.",
        discussion: "--agent says whose memories. Each line is a name, a tab, and the value's JSON.")

    @Argument(help: "What the names begin with.")
    var prefix = ""

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let agent = try options.agentName("remembers them")
        let start = "memory:\(try SwarmNames.escaped(agent)):"
        let prefix = prefix
        try await options.connect { connection, replies in
            var after: String?
            repeat {
                let fields =
                    [#""type":"\#(MemoryMessage.list.rawValue)","id":"m","limit":500"#] + JSON.member("agent", agent)
                    + JSON.member("prefix", prefix) + JSON.member("after", after)
                try await connection.send("{\(fields.joined(separator: ","))}")
                let answer = try await replies.answer(to: "m")
                for register in (answer.array("registers") ?? []).compactMap({ try? JSONObject($0) }) {
                    options.show(register) { register in
                        let name = (register.string("key") ?? "").dropFirst(start.count)
                        Output.line("\(SwarmView.plain(String(name)))\t\(JSON.line(register.raw("value")))")
                    }
                }
                after = answer.string("next")
            } while after != nil
        }
    }
}

/// `starling memory delete`
struct MemoryDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Forget what an agent remembers under a name.")

    @OptionGroup var target: MemoryTarget
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.ask(MemoryMessage.delete.rawValue, target.fields(options))
        options.show(answer) { answer in Output.line(answer.string("key") ?? "") }
    }
}

extension ClientOptions {
    /// Sends one message, and gives its answer.
    ///
    /// - Parameter fields: its members as JSON.
    func ask(_ type: String, _ fields: [String]) async throws -> JSONObject {
        try await connect { connection, replies in
            let members = [#""type":"\#(type)","id":"m""#] + fields
            try await connection.send("{\(members.joined(separator: ","))}")
            return try await replies.answer(to: "m")
        }
    }
}
