import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling swarm join`
struct SwarmJoin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Become a member of a swarm, under the name that --agent gives.",
        discussion: """
            Members send messages, and topology goes by them. Membership lasts until 'starling swarm leave'; this command is no \
            connection to be present by, so presence lasts for --ttl. Workers ('starling task next') join by themselves.
            """)

    @Argument(help: "The swarm.")
    var swarm: String

    @Option(help: "What it is there for, such as writer.")
    var role: String?

    @Option(help: ArgumentHelp("Whom it is below in a hierarchy.", valueName: "agent"))
    var parent: String?

    @Option(help: "Its place in a ring.")
    var position: Int?

    @Option(
        name: .customLong("capability"), help: ArgumentHelp("What it can do; may be repeated.", valueName: "name"))
    var capabilities: [String] = []

    @Option(help: ArgumentHelp("How long it is present.", valueName: "seconds"))
    var ttl: Double = 60

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let agent = try options.agentName("is to join")
        let fields =
            JSON.member("role", role) + JSON.member("parent", parent) + JSON.member("position", number: position)
            + JSON.member("capabilities", capabilities) + JSON.member("ttl", number: ttl)
            + JSON.member("presence", "command")
        options.show(try await options.call(.swarmJoin, swarm, fields)) { answer in
            Output.line("\(agent) is a member of \(swarm), at position \(answer.integer("position") ?? 0)")
        }
    }
}

/// `starling swarm leave`
struct SwarmLeave: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "End the membership of the agent that --agent names.")

    @Argument(help: "The swarm.")
    var swarm: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let agent = try options.agentName("is to leave")
        options.show(try await options.call(.swarmLeave, swarm)) { _ in
            Output.line("\(agent) is no member of \(swarm)")
        }
    }
}

/// `starling swarm send`
struct SwarmSend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send", abstract: "Send a message to a member of a swarm, or to all.",
        discussion: """
            --agent says who sends it: a member ('starling swarm join'). What is sent to one waits in its inbox until that acknowledges it \
            ('starling inbox'); what is sent to all stands on the board for a day, as swarm:<swarm>:board:*.
            """)

    @Argument(help: "The swarm.")
    var swarm: String

    @Argument(help: "The message: JSON, or text.")
    var body: String

    @Option(help: ArgumentHelp("Whom it is for; without it, it is for all.", valueName: "agent"))
    var to: String?

    @Option(help: "What kind of message it is, such as question.")
    var kind: String?

    @OptionGroup var options: ClientOptions

    func run() async throws {
        _ = try options.agentName("sends it")
        let fields =
            (to == nil ? [#""board":true"#] : JSON.member("to", to)) + JSON.member("kind", kind)
            + [#""body":\#(JSON.value(body))"#]
        options.show(try await options.call(.messageSend, swarm, fields)) { answer in
            Output.line(answer.string("key") ?? "")
        }
    }
}

extension ClientOptions {
    /// The name that `--agent` gives, where a command needs one.
    func agentName(_ role: String) throws -> String {
        guard let agent else { throw UsageError("--agent says who \(role)") }
        return agent
    }
}
