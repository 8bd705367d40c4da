import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling sub`
struct Sub: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print what matches a pattern, and every change as it happens.",
        discussion: """
            Each line is a key, a tab, and its value's JSON; a deleted key has '(deleted)' in the place of a value.

              starling sub 'task:*'
              starling sub --json --once '*' > updates.jsonl
            """)

    @Argument(help: "The pattern. Quote it, so that the shell leaves it alone.")
    var pattern: String

    @Option(help: "Go on from a cursor, instead of starting with everything that matches.")
    var since: String?

    @Flag(help: "Leave out what is there already.")
    var noSnapshot = false

    @Flag(help: "Stop when everything that was there has been printed.")
    var once = false

    @Option(help: "Stop after so many updates.")
    var count: Int?

    @OptionGroup var options: ClientOptions

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count is \(count); it must be at least 1") }
    }

    func run() async throws {
        var request = #"{"type":"subscribe","id":"s1","pattern":\#(JSON.quote(pattern))"#
        if let since { request += #","since":\#(JSON.quote(since))"# }
        if noSnapshot { request += #","snapshot":false"# }
        request += "}"
        let subscribe = request
        try await options.connect { connection, replies in
            try await connection.send(subscribe)
            var printed = 0
            while let message = try await replies.next() {
                switch message.string("type") {
                case "update":
                    show(message)
                    printed += 1
                    if printed == count { return }
                case "error": throw ServerRefusal(message)
                case "synced":
                    if options.json { show(message) }
                    if once { return }
                case "bye": throw ClientError(.unavailable, message.string("reason") ?? "the server said goodbye")
                default: if options.json { show(message) }
                }
            }
            throw ClientError(.unavailable, "the connection to \(options.server) was lost")
        }
    }

    private func show(_ message: JSONObject) {
        if options.json {
            Output.line(message.line)
        } else {
            let value = message.bool("deleted") == true ? "(deleted)" : JSON.line(message.raw("value"))
            Output.line("\(message.string("key") ?? "")\t\(value)")
        }
    }
}
