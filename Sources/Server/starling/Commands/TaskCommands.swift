import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling task`
struct TaskCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "task", abstract: "Submit tasks to a swarm, and work on them.",
        subcommands: [
            TaskSubmit.self, TaskNext.self, TaskComplete.self, TaskFail.self, TaskRelease.self, TaskPark.self,
            TaskResume.self, TaskCancel.self, TaskRetry.self, TaskAssign.self, TaskRevoke.self, TaskDepend.self,
            TaskList.self, TaskShow.self,
        ])
}

/// `starling task submit`
struct TaskSubmit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "submit", abstract: "Submit tasks: all of them, or none.",
        discussion: """
            The file has an array of JSON, or an object with "tasks": [{"id":"draft","input":1},{"id":"review","dependencies":["draft"]}]. \
            All fields of a task may be left out; the names that were given are printed.
            """)

    @Argument(help: "The swarm.")
    var swarm: String

    @Argument(help: ArgumentHelp("The file; - for the standard input.", valueName: "file"))
    var path = "-"

    @Option(
        help: ArgumentHelp(
            "Names the submission, so that it is safe to send again. At least 64 random bits.", valueName: "name"))
    var op: String?

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.call(
            .taskSubmit, swarm, JSON.member("op", op) + [#""tasks":\#(try tasks())"#])
        options.show(answer) { answer in
            for id in (answer.array("ids") ?? []).compactMap(JSONObject.string) { Output.line(id) }
        }
    }

    private func tasks() throws -> String {
        let name = path == "-" ? "the standard input" : path
        guard
            let text = path == "-"
                ? FileHandle.standardInput.readDataToEndOfFile() : FileManager.default.contents(atPath: path)
        else { throw UsageError("\(path) cannot be read") }
        let bytes = Array(text)
        if JSONObject.elements(of: bytes.drop { $0 == 0x20 || $0 == 0x0A }.map { $0 }) != nil {
            return JSON.text(bytes)
        }
        guard let tasks = (try? JSONObject(bytes))?.raw("tasks") else {
            throw UsageError("\(name) has neither an array of tasks nor an object with \"tasks\"")
        }
        return JSON.text(tasks)
    }
}

/// `starling task list`
struct TaskList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the tasks of a swarm.",
        discussion: "Each line is a task, a tab, its status, a tab, and who has it, or is to have it.")

    @Argument(help: "The swarm.")
    var swarm: String

    @Option(help: "Only those with this status.")
    var status: String?

    @OptionGroup var options: ClientOptions

    private static let statuses = ["pending", "ready", "working", "parked", "completed", "failed", "cancelled"]

    func validate() throws {
        if let status, !Self.statuses.contains(status) {
            throw ValidationError("--status is one of \(Self.statuses.joined(separator: ", "))")
        }
    }

    func run() async throws {
        let pattern = try SwarmNames.pattern(swarm, "task:*")
        let status = status
        try await options.connect { connection, replies in
            var after: String?
            repeat {
                let rest = JSON.member("after", after).map { "," + $0 }.joined()
                try await connection.send(
                    #"{"type":"list","id":"l","limit":1000,"pattern":\#(JSON.quote(pattern))\#(rest)}"#)
                let answer = try await replies.answer(to: "l")
                for row in (answer.array("registers") ?? []).compactMap({ try? JSONObject($0) }) {
                    show(row, status)
                }
                after = answer.string("next")
            } while after != nil
        }
    }

    private func show(_ register: JSONObject, _ wanted: String?) {
        guard register.string("key")?.split(separator: ":", omittingEmptySubsequences: false).count == 4,
            let row = register.object("value"), let status = row.string("status"), wanted == nil || status == wanted
        else { return }
        options.show(row) { row in Output.line(Self.line(row)) }
    }

    /// A task's row, in a line.
    static func line(_ row: JSONObject) -> String {
        [row.string("task_id"), row.string("status"), row.string("agent_id")].map { SwarmView.plain($0 ?? "") }.joined(
            separator: "\t")
    }
}

/// `starling task show`
struct TaskShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Print what there is of a task: its row, input, progress and result.",
        discussion: "Exits with 1 when there is no such task.")

    @OptionGroup var target: TaskTarget
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let (swarm, task) = (target.swarm, target.task)
        let key = "swarm:\(try SwarmNames.escaped(swarm)):task:\(try SwarmNames.escaped(task))"
        let isThere = try await options.connect { connection, replies in
            var isThere = false
            for part in ["", ":input", ":progress", ":result"] {
                try await connection.send(#"{"type":"get","id":"g","key":\#(JSON.quote(key + part))}"#)
                let answer: JSONObject
                do {
                    answer = try await replies.answer(to: "g")
                } catch let refusal as ServerRefusal where !part.isEmpty && refusal.code == "forbidden" {
                    // Who may read the row sees that, and of the rest what it may.
                    continue
                }
                guard answer.bool("found") == true else { continue }
                if part.isEmpty { isThere = true }
                options.show(answer) { answer in
                    Output.line(
                        "\(part.isEmpty ? "task" : String(part.dropFirst()))\t\(JSON.line(answer.raw("value")))")
                }
            }
            return isThere
        }
        if !isThere {
            Output.complaint("there is no task \(task) in swarm \(swarm)")
            throw ExitCode(1)
        }
    }
}
