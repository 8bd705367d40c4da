import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling keys`
struct Keys: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the keys that match a pattern.",
        discussion: "With --json, whole registers: key, value, version and so on.")

    @Argument(help: "The pattern. Quote it, so that the shell leaves it alone.")
    var pattern: String = "*"

    @OptionGroup var options: ClientOptions

    func run() async throws {
        try await options.connect { connection, replies in
            var after: String?
            repeat {
                var request = #"{"type":"list","id":"l","limit":1000,"pattern":\#(JSON.quote(pattern))"#
                if let after { request += #","after":\#(JSON.quote(after))"# }
                try await connection.send(request + "}")
                let answer = try await replies.answer(to: "l")
                for row in answer.array("registers") ?? [] {
                    Output.line(options.json ? JSON.line(row) : (try? JSONObject(row))?.string("key") ?? "")
                }
                after = answer.string("next")
            } while after != nil
        }
    }
}
