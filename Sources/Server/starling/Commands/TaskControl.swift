import ArgumentParser
import SyncClient
import SyncProtocol

/// A command that makes one call about a task, and prints the answer's row as `starling task list` does.
protocol TaskControl: AsyncParsableCommand {
    static var call: Call.Name { get }
    var target: TaskTarget { get }
    var options: ClientOptions { get }
    /// Of the call, beside swarm and task: members of a JSON object.
    var fields: [String] { get }
}

extension TaskControl {
    var fields: [String] { [] }

    func run() async throws {
        let answer = try await options.call(Self.call, target.swarm, JSON.member("task", target.task) + fields)
        options.show(answer) { answer in Output.line(TaskList.line(answer.object("task") ?? answer)) }
    }
}

/// Which task is meant.
struct TaskTarget: ParsableArguments {
    @Argument(help: "The swarm.")
    var swarm: String

    @Argument(help: "The task.")
    var task: String
}

/// Under which fence a task is held.
struct FenceOption: ParsableArguments {
    @Option(help: "The fence that it was handed out under.")
    var fence: UInt64

    var field: [String] { JSON.member("fence", number: fence) }
}

/// `starling task complete`
struct TaskComplete: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "complete", abstract: "Say that a task is done.")
    static let call = Call.Name.taskComplete

    @OptionGroup var target: TaskTarget

    @Argument(help: "What came of it: JSON, or text.")
    var result: String?

    @OptionGroup var fence: FenceOption

    @OptionGroup var options: ClientOptions

    var fields: [String] {
        fence.field + (result.map { [#""result":\#(JSON.value($0))"#] } ?? [])
    }
}

/// `starling task fail`
struct TaskFail: TaskControl {
    static let configuration = CommandConfiguration(commandName: "fail", abstract: "Say that a task cannot be done.")
    static let call = Call.Name.taskFail

    @OptionGroup var target: TaskTarget

    @Argument(help: "Why not: JSON, or text.")
    var error: String?

    @OptionGroup var fence: FenceOption

    @Flag(help: "Let somebody try again, as long as it has attempts left.")
    var retry = false

    @OptionGroup var options: ClientOptions

    var fields: [String] {
        fence.field + (error.map { [#""error":\#(JSON.value($0))"#] } ?? [])
            + [#""retry":\#(retry)"#]
    }
}

/// `starling task cancel`
struct TaskCancel: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "cancel", abstract: "Cancel a task, and take it from whoever has it.")
    static let call = Call.Name.taskCancel

    @OptionGroup var target: TaskTarget

    @Flag(help: "Cancel what waits for it, too, whatever its policy.")
    var cascade = false

    @OptionGroup var options: ClientOptions

    var fields: [String] { [#""cascade":\#(cascade)"#] }
}

/// `starling task retry`
struct TaskRetry: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "retry", abstract: "Begin a task anew that has failed or was cancelled.")
    static let call = Call.Name.taskRetry

    @OptionGroup var target: TaskTarget

    @Flag(help: "Begin what was cancelled with it anew, too.")
    var cascade = false

    @OptionGroup var options: ClientOptions

    var fields: [String] { [#""cascade":\#(cascade)"#] }
}

/// `starling task park`
struct TaskPark: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "park", abstract: "Put a task aside until it is resumed.",
        discussion: "For whoever has it: the lease ends, and nobody is handed the task until 'starling task resume'.")
    static let call = Call.Name.taskPark

    @OptionGroup var target: TaskTarget

    @Argument(help: "Why: JSON, or text.")
    var reason: String?

    @OptionGroup var fence: FenceOption

    @OptionGroup var options: ClientOptions

    var fields: [String] {
        fence.field + (reason.map { [#""reason":\#(JSON.value($0))"#] } ?? [])
    }
}

/// `starling task resume`
struct TaskResume: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Let a parked task be handed out again.")
    static let call = Call.Name.taskResume

    @OptionGroup var target: TaskTarget
    @OptionGroup var options: ClientOptions
}

/// `starling task release`
struct TaskRelease: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Give a task back undone; the attempt does not count.")
    static let call = Call.Name.taskRelease

    @OptionGroup var target: TaskTarget

    @OptionGroup var fence: FenceOption

    @OptionGroup var options: ClientOptions

    var fields: [String] { fence.field }
}

/// `starling task assign`
struct TaskAssign: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "assign", abstract: "Mean a task for one agent, as long as that is present, or for anybody.")
    static let call = Call.Name.taskAssign

    @OptionGroup var target: TaskTarget

    @Argument(help: "The agent; without one the task is for anybody.")
    var assignee: String?

    @OptionGroup var options: ClientOptions

    var fields: [String] { assignee == nil ? [#""agent_id":null"#] : JSON.member("agent_id", assignee) }
}

/// `starling task revoke`
struct TaskRevoke: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Take a task from the agent that has it, for somebody else.")
    static let call = Call.Name.taskRevoke

    @OptionGroup var target: TaskTarget
    @OptionGroup var options: ClientOptions
}

/// `starling task depend`
struct TaskDepend: TaskControl {
    static let configuration = CommandConfiguration(
        commandName: "depend", abstract: "Have a task that nobody has wait for others, too.")
    static let call = Call.Name.taskDepend

    @OptionGroup var target: TaskTarget

    @Argument(help: "What it is to wait for.")
    var on: [String]

    @OptionGroup var options: ClientOptions

    var fields: [String] { JSON.member("on", on) }
}
