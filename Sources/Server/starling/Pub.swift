import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling pub`
struct Pub: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Broadcast a value: store it, and send it to all who subscribe to its key.",
        discussion: """
            VALUE is JSON; what is no JSON is taken for a string. '-' reads lines from standard input, each a value of \
            its own, in order.

              starling pub task:42:status done
              starling pub task:42:status '{"state":"done","by":"planner"}' --ttl 3600
              tail -f log | starling pub log:web -
            """)

    @Argument(help: "The key.")
    var key: String

    @Argument(help: "The value, or '-' for lines on standard input.")
    var value: String

    @Option(help: "Forget the value after so many seconds.")
    var ttl: Double?

    @Option(help: "Write only over this version; 'none' writes only where there is no value.")
    var expect: String?

    @Flag(help: "Send it to those who subscribe now, and store nothing.")
    var transient = false

    @OptionGroup var options: ClientOptions

    func run() async throws {
        if value != "-" {
            let outcome = try await options.connect { connection, replies in
                try await connection.send(request(JSON.value(value), id: "w"))
                return try await replies.answer(to: "w")
            }
            return try report(outcome)
        }
        try await options.connect { connection, replies in
            try await publishLines(connection, &replies)
        }
    }

    /// Sends the lines of standard input, some hundreds ahead of their acknowledgements.
    private func publishLines(_ connection: SyncConnection, _ replies: inout Replies) async throws {
        let window = 512
        var sent = 0
        var answered = 0
        while let line = readLine() {
            sent += 1
            try await connection.send(request(JSON.value(line), id: "\(sent)"))
            while sent - answered >= window {
                answered += 1
                try report(try await replies.answer(to: "\(answered)"))
            }
        }
        while answered < sent {
            answered += 1
            try report(try await replies.answer(to: "\(answered)"))
        }
    }

    private func request(_ value: String, id: String) -> String {
        var text = #"{"type":"broadcast","id":"\#(id)","key":\#(JSON.quote(key)),"value":\#(value)"#
        if let ttl { text += ",\"ttl\":\(ttl)" }
        if let expect { text += ",\"expect\":\(expect == "none" ? "null" : JSON.quote(expect))" }
        if transient { text += ",\"transient\":true" }
        return text + "}"
    }

    private func report(_ outcome: JSONObject) throws {
        if options.json { Output.line(outcome.line) }
        if outcome.bool("applied") == true { return }
        let other = outcome.object("winner") ?? outcome.object("current")
        let version = other?.string("version") ?? "none"
        Output.complaint("not written (\(outcome.string("reason") ?? "?")); version in place: \(version)")
        throw ExitCode(1)
    }
}
