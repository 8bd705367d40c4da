import ArgumentParser
import Dispatch
import Foundation
import StarlingServer
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
              starling pub temperature -- -5
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

    /// How many lines are sent ahead of their acknowledgements.
    private static let window = 512
    /// The id of what is sent behind the last line: its answer comes behind all others.
    private static let end = "end"

    /// Sends the lines of standard input, and says what became of each as soon as it is known: where nothing is written any more it
    /// ends, whether or not there is a next line.
    private func publishLines(_ connection: SyncConnection, _ replies: inout Replies) async throws {
        // One that begins at 0 may end at any number; another must not end below where it began, and a refusal comes at any time.
        let permits = DispatchSemaphore(value: 0)
        for _ in 0..<Self.window { permits.signal() }
        let lines = Self.lines(permits)
        let sender = Task {
            var count = 0
            var failure: (any Error)?
            do {
                for try await line in lines {
                    count += 1
                    try await connection.send(request(JSON.value(line), id: "\(count)"))
                }
            } catch {
                failure = error
            }
            try await connection.send(#"{"type":"ping","id":"\#(Self.end)"}"#)
            if let failure { throw failure }
        }
        defer { sender.cancel() }
        var written = 0
        func lost(_ why: String) -> ClientError {
            ClientError(.unavailable, "\(why); lines up to \(written) are written, those behind it may be")
        }
        while let message = try await replies.next() {
            switch message.string("type") {
            case "bye": throw lost(message.string("reason") ?? "the server said goodbye")
            case "pong": if message.string("id") == Self.end { return try await sender.value }
            case "ack", "error":
                permits.signal()
                do {
                    if message.string("type") == "error" { throw ServerRefusal(message) }
                    try report(message)
                    written += 1
                } catch {
                    Output.complaint(
                        "line \(message.string("id") ?? "?") was not written; those behind it that were on their way may be, and no "
                            + "more are sent")
                    throw error
                }
            default: break
            }
        }
        throw lost("the connection to \(options.server) was lost")
    }

    /// The lines of standard input, one for each permit.
    private static func lines(_ permits: DispatchSemaphore) -> AsyncThrowingStream<String, any Error> {
        let (lines, continuation) = AsyncThrowingStream.makeStream(of: String.self)
        // A thread of its own: reading a line can take for ever, and nobody waits for it to end.
        Thread.detachNewThread {
            var reader = LineReader()
            var number = 0
            while let line = reader.next() {
                permits.wait()
                number += 1
                guard let text = String(validating: withoutLineEnd(line), as: UTF8.self) else {
                    return continuation.finish(
                        throwing: ServerError("line \(number) is no UTF-8, and none behind it was sent"))
                }
                continuation.yield(text)
            }
            continuation.finish()
        }
        return lines
    }

    private static func withoutLineEnd(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var line = line
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
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
