import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling task next`
struct TaskNext: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "next", abstract: "Take a task, and perhaps do it.",
        discussion: """
            Prints the task as JSON. With --exec it is done at once: the command is given the input on its standard input, and STARLING_SWARM, \
            STARLING_TASK and STARLING_FENCE in its environment. While it runs the lease is renewed; what it prints is the result, and a status \
            other than 0 is a failure. Should the task be lost meanwhile the command is ended. So a shell script is a worker:

              starling task next demo --loop --exec ./do-it.sh

            Exits with 1 when there is no task.
            """)

    @Argument(help: "The swarm.")
    var swarm: String

    @Option(help: ArgumentHelp("How long to wait for a task: up to 60.", valueName: "seconds"))
    var wait: Double = 0

    @Option(
        help: ArgumentHelp(
            "How long the lease lasts unless it is renewed. (default: as the swarm has it)", valueName: "seconds"))
    var lease: Double?

    @Option(help: ArgumentHelp("What this worker can do; may be given several times.", valueName: "name"))
    var capability: [String] = []

    @Option(help: ArgumentHelp("Does the task by this shell command.", valueName: "command"))
    var exec: String?

    @Flag(help: "Goes on with the next task, until it is stopped. Only with --exec.")
    var loop = false

    @OptionGroup var options: ClientOptions

    func validate() throws {
        if loop, exec == nil { throw ValidationError("--loop is of no use without --exec") }
        if !(0...60).contains(wait) { throw ValidationError("--wait is in seconds, from 0 to 60") }
    }

    func run() async throws {
        // So that a task that is under way is given back.
        let stop = exec == nil ? nil : StopSignals()
        let bench = Workbench()
        // What ends this with a task under way ends that, too.
        defer { bench.task?.end() }
        var rest = Self.rest
        while true {
            do {
                let isDone = try await options.connect { connection, replies in
                    guard loop else { return try await next(connection, &replies, bench, stop) }
                    try await join(connection, &replies)
                    while stop?.isStopping != true { _ = try await next(connection, &replies, bench, stop) }
                    return true
                }
                if !isDone { throw ExitCode(1) }
                return
            } catch let error where Self.mayPass(error) && (loop || bench.task != nil) {
                // The server has ended, for a while as a rule. What is under way goes on, and is told of when it is back.
                Output.complaint("\(error); trying again in \(rest.components.seconds) s")
            }
            try await Task.sleep(for: rest)
            rest = bench.task == nil ? min(rest * 2, Self.longestRest) : Self.rest
            if let task = bench.task, task.isOver || stop?.isStopping == true {
                // Nobody knows of it any more, or is to: it goes to somebody else when its lease is over.
                task.end()
                bench.task = nil
                Output.line("\(SwarmView.plain(task.handed.task))\t\(HandedTask.Outcome.lost.rawValue)")
                if !loop { throw ExitCode(1) }
            }
            if stop?.isStopping == true { return }
        }
    }

    /// Whether what went wrong is no answer of the server's, and no mistake of the caller's.
    private static func mayPass(_ error: any Error) -> Bool {
        if let error = error as? ClientError { return error.code != .badURL }
        return !(error is ServerRefusal || error is UsageError || error is ExitCode)
    }

    /// How long to wait for a server to come back, at first and at most.
    private static let rest = Duration.seconds(1)
    private static let longestRest = Duration.seconds(30)

    /// Is a member, and present, so that tasks can be meant for it; where it may not be, it works all the same.
    private func join(_ connection: SyncConnection, _ replies: inout Replies) async throws {
        let fields = JSON.member("capabilities", capability) + [#""role":"worker""#]
        do {
            _ = try await connection.call(.swarmJoin, swarm, fields, &replies)
        } catch let error as ServerRefusal where error.code == "forbidden" {}
    }

    /// Takes a task, and does it or prints it.
    ///
    /// - Returns: whether there was one, and it is done.
    private func next(
        _ connection: SyncConnection, _ replies: inout Replies, _ bench: Workbench, _ stop: StopSignals?
    ) async throws -> Bool {
        if let task = bench.task { return try await finish(task, connection, &replies, bench, stop) }
        // Not for as long as may be: a signal is heard in between.
        let wait = loop ? 5 : wait
        let fields =
            [#""wait":\#(wait)"#] + JSON.member("lease", number: lease) + JSON.member("capabilities", capability)
        let answer = try await connection.call(.taskNext, swarm, fields, &replies)
        guard answer.string("type") == "task" else { return false }
        guard let exec else {
            Output.line(options.json ? answer.line : Self.text(answer))
            return true
        }
        let task = try RunningTask(HandedTask(swarm, answer), exec)
        bench.task = task
        return try await finish(task, connection, &replies, bench, stop)
    }

    private func finish(
        _ task: RunningTask, _ connection: SyncConnection, _ replies: inout Replies, _ bench: Workbench,
        _ stop: StopSignals?
    ) async throws -> Bool {
        let outcome = try await task.finish(connection, &replies, stop)
        bench.task = nil
        Output.line("\(SwarmView.plain(task.handed.task))\t\(outcome.rawValue)")
        return outcome == .completed
    }

    /// The answer without what is the protocol's.
    private static func text(_ answer: JSONObject) -> String {
        let members = answer.members.filter { $0.name != "type" && $0.name != "id" }
        return "{" + members.map { "\(JSON.quote($0.name)):\(JSON.line($0.value))" }.joined(separator: ",") + "}"
    }
}
