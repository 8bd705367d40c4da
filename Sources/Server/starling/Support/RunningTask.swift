import Foundation
import SyncClient
import SyncProtocol
import Synchronization

/// A task that was handed to this process.
struct HandedTask {
    enum Outcome: String {
        case completed, failed, lost, released
    }

    let swarm: String
    let task: String
    let fence: Int64
    let input: [UInt8]?
    let lease: Duration

    init(_ swarm: String, _ answer: JSONObject) throws {
        guard let task = answer.object("task")?.string("task_id"), let fence = answer.integer("fence") else {
            throw ClientError(.protocolViolation, "the server sent a task without name or fence")
        }
        self.swarm = swarm
        self.task = task
        self.fence = fence
        input = answer.raw("input")
        let seconds = answer.object("task")?.raw("lease").flatMap { Double(String(decoding: $0, as: UTF8.self)) } ?? 60
        lease = .milliseconds(Int64(seconds * 1_000))
    }
}

/// What a worker is at: it outlives a connection.
final class Workbench: Sendable {
    private let current = Mutex<RunningTask?>(nil)

    var task: RunningTask? {
        get { current.withLock { $0 } }
        set { current.withLock { $0 = newValue } }
    }
}

/// A shell command that does a task.
final class RunningTask: Sendable {
    /// The greatest value that a server takes unless it is told otherwise, with room for escapes, in bytes.
    private static let maximumResult = 512 << 10

    let handed: HandedTask
    private let process: ShellCommand
    /// When the lease was made, or renewed, last.
    private let renewedAt = Mutex(ContinuousClock.now)

    /// Starts the command.
    init(_ handed: HandedTask, _ command: String) throws {
        self.handed = handed
        process = ShellCommand(
            command, environment: ["SWARM": handed.swarm, "TASK": handed.task, "FENCE": "\(handed.fence)"])
        try process.start(input: handed.input ?? [])
    }

    /// Whether the lease is over, as far as anybody here knows.
    var isOver: Bool { renewedAt.withLock { $0 + handed.lease <= .now } }

    /// Has the command end.
    func end() { process.end() }

    /// Waits for the command, and tells the server what came of it. Where the connection ends before that, it is to be called again with another one.
    func finish(
        _ connection: SyncConnection, _ replies: inout Replies, _ stop: StopSignals?
    ) async throws -> HandedTask.Outcome {
        let pulse = max(.milliseconds(200), handed.lease / 3)
        var nextPulse = renewedAt.withLock { $0 } + pulse
        while !process.hasEnded {
            try await Task.sleep(for: .milliseconds(20))
            if stop?.isStopping == true {
                process.end()
                return try await tell(.taskRelease, [], connection, &replies) ? .released : .lost
            }
            guard ContinuousClock.now >= nextPulse else { continue }
            nextPulse = .now + pulse
            let now = ContinuousClock.now
            guard try await tell(.taskProgress, [], connection, &replies) else {
                process.end()
                return .lost
            }
            renewedAt.withLock { $0 = now }
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
        let own = JSON.member("task", handed.task) + JSON.member("fence", number: handed.fence)
        try await connection.send(call: name, handed.swarm, own + fields, id: "w")
        while let message = try await replies.next() {
            guard message.string("id") == "w" else { continue }
            guard message.string("type") == "error" else { return true }
            if ["stale_fence", "absent"].contains(message.string("code")) { return false }
            throw ServerRefusal(message)
        }
        throw ClientError(.unavailable, "the server closed the connection while \(handed.task) was being done")
    }
}
