import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling swarm`
struct Swarm: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a swarm, be a member of it, and see what it is doing.",
        subcommands: [
            SwarmInit.self, SwarmJoin.self, SwarmLeave.self, SwarmSend.self, SwarmStatus.self, SwarmWatch.self,
            SwarmEnd.self,
        ])
}

/// `starling swarm init`
struct SwarmInit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a swarm, if it is not there already.")

    @Argument(help: "Its name.")
    var swarm: String

    @Option(help: "Who may write to whom: mesh, star, ring or hierarchical. (default: mesh)")
    var topology: String?

    @Option(help: ArgumentHelp("The hub of a star, or the head of a hierarchy.", valueName: "agent"))
    var coordinator: String?

    @Option(
        help: ArgumentHelp(
            "How long the lease of a task lasts unless it is renewed. (default: 60)", valueName: "seconds"))
    var lease: Double?

    @Option(
        help: ArgumentHelp(
            "How often a task is handed out before it has failed; 0: without end. (default: 3)", valueName: "times"))
    var attempts: Int?

    @Option(
        help: ArgumentHelp(
            "What becomes of a task whose dependency fails: block, cancel or run. (default: block)", valueName: "policy"
        ))
    var onDependencyFailure: String?

    @Option(
        help: ArgumentHelp(
            "After so long a wait a task counts for one more of priority; 0: never. (default: 0)", valueName: "seconds")
    )
    var aging: Int?

    @Option(help: ArgumentHelp("How many members it may have.", valueName: "count"))
    var maxAgents: Int?

    @Flag(help: "Leave out the copies task:<task>:status.")
    var noMirror = false

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let fields =
            JSON.member("topology", topology) + JSON.member("coordinator", coordinator)
            + JSON.member("lease", number: lease) + JSON.member("max_attempts", number: attempts)
            + JSON.member("on_dependency_failure", onDependencyFailure) + JSON.member("aging", number: aging)
            + JSON.member("max_agents", number: maxAgents) + (noMirror ? [#""mirror":false"#] : [])
        options.show(try await options.call(.swarmInit, swarm, fields)) { answer in
            Output.line(answer.bool("created") == true ? "made \(swarm)" : "\(swarm) is there already")
        }
    }
}

/// `starling swarm status`
struct SwarmStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Say what a swarm is doing, counted now.")

    @Argument(help: "Its name.")
    var swarm: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        options.show(try await options.call(.swarmStatus, swarm)) { answer in
            for line in SwarmView.lines(ofStatus: answer) { Output.line(line) }
        }
    }
}

/// `starling swarm end`
struct SwarmEnd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "end", abstract: "End a swarm: cancel its tasks, and dismiss its members.",
        discussion: """
            The rows of its tasks stay as long as those of others that are over (starling serve --task-retention), and so are their names \
            taken in a swarm that is made under the same name.
            """)

    @Argument(help: "Its name.")
    var swarm: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        options.show(try await options.call(.swarmEnd, swarm)) { answer in
            let count = answer.integer("cancelled") ?? 0
            Output.line("\(swarm) has ended; \(count) \(count == 1 ? "task is" : "tasks are") cancelled")
        }
    }
}
