import ArgumentParser
import Foundation
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
        guard loop else {
            let isDone = try await options.connect { connection, replies in
                try await next(connection, &replies, stop)
            }
            if !isDone { throw ExitCode(1) }
            return
        }
        var rest = Self.rest
        while stop?.isStopping != true {
            do {
                try await options.connect { connection, replies in
                    try await join(connection, &replies)
                    while stop?.isStopping != true { _ = try await next(connection, &replies, stop) }
                }
            } catch let error as ClientError where error.code == .badURL {
                throw error
            } catch let error where !(error is ServerRefusal || error is UsageError) {
                // The server has ended, for a while as a rule.
                Output.complaint("\(error); trying again in \(rest.components.seconds) s")
                try await Task.sleep(for: rest)
                rest = min(rest * 2, Self.longestRest)
                continue
            }
            rest = Self.rest
        }
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
        _ connection: SyncConnection, _ replies: inout Replies, _ stop: StopSignals?
    ) async throws -> Bool {
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
        let handed = try HandedTask(swarm, answer)
        let outcome = try await handed.work(exec, connection, &replies, stop)
        Output.line("\(SwarmView.plain(handed.task))\t\(outcome.rawValue)")
        return outcome == .completed
    }

    /// The answer without what is the protocol's.
    private static func text(_ answer: JSONObject) -> String {
        let members = answer.members.filter { $0.name != "type" && $0.name != "id" }
        return "{" + members.map { "\(JSON.quote($0.name)):\(JSON.line($0.value))" }.joined(separator: ",") + "}"
    }
}

/// A task that was handed to this process.
struct HandedTask {
    enum Outcome: String {
        case completed, failed, lost, released
    }

    /// The greatest value that a server takes unless it is told otherwise, with room for escapes, in bytes.
    private static let maximumResult = 512 << 10

    let swarm: String
    let task: String
    let fence: Int64
    private let input: [UInt8]?
    /// How often the lease is renewed.
    private let pulse: Duration

    init(_ swarm: String, _ answer: JSONObject) throws {
        guard let task = answer.object("task")?.string("task_id"), let fence = answer.integer("fence") else {
            throw ClientError(.protocolViolation, "the server sent a task without name or fence")
        }
        self.swarm = swarm
        self.task = task
        self.fence = fence
        input = answer.raw("input")
        let lease = answer.object("task")?.raw("lease").flatMap { Double(String(decoding: $0, as: UTF8.self)) } ?? 60
        pulse = .milliseconds(Int64(max(0.2, lease / 3) * 1_000))
    }

    /// Does the task by a shell command, and tells the server what came of it.
    func work(
        _ command: String, _ connection: SyncConnection, _ replies: inout Replies, _ stop: StopSignals?
    ) async throws -> Outcome {
        let process = ShellCommand(command, environment: ["SWARM": swarm, "TASK": task, "FENCE": "\(fence)"])
        try process.start(input: input ?? [])
        // Should the connection be lost meanwhile, somebody else gets the task when its lease is over.
        defer { process.end() }
        var nextPulse = ContinuousClock.now + pulse
        while !process.hasEnded {
            try await Task.sleep(for: .milliseconds(20))
            if stop?.isStopping == true {
                process.end()
                return try await tell(.taskRelease, [], connection, &replies) ? .released : .lost
            }
            guard ContinuousClock.now >= nextPulse else { continue }
            nextPulse = .now + pulse
            guard try await tell(.taskProgress, [], connection, &replies) else {
                process.end()
                return .lost
            }
        }
        let (status, output, errors) = process.result()
        if output.count > Self.maximumResult {
            let error =
                #""error":"the command printed \#(output.count) bytes; a result has \#(Self.maximumResult) at most""#
            return try await tell(.taskFail, [error], connection, &replies) ? .failed : .lost
        }
        if status == 0 {
            let result = JSON.value(String(decoding: output, as: UTF8.self).trimmingCharacters(in: .newlines))
            return try await tell(.taskComplete, [#""result":\#(result)"#], connection, &replies) ? .completed : .lost
        }
        let said = JSON.quote(String(decoding: errors.suffix(4_096), as: UTF8.self))
        let error = #""error":{"exit":\#(status),"stderr":\#(said)},"retry":true"#
        return try await tell(.taskFail, [error], connection, &replies) ? .failed : .lost
    }

    /// - Returns: false where the task is no longer this process's.
    private func tell(
        _ name: Call.Name, _ fields: [String], _ connection: SyncConnection, _ replies: inout Replies
    ) async throws -> Bool {
        let own = JSON.member("task", task) + JSON.member("fence", number: fence)
        try await connection.send(call: name, swarm, own + fields, id: "w")
        while let message = try await replies.next() {
            guard message.string("id") == "w" else { continue }
            guard message.string("type") == "error" else { return true }
            if ["stale_fence", "absent"].contains(message.string("code")) { return false }
            throw ServerRefusal(message)
        }
        throw ClientError(.unavailable, "the server closed the connection while \(task) was being done")
    }
}
