import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling get`
struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the value of a key.",
        discussion: "Exits with 1 when the key has no value.")

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.connect { connection, replies in
            try await connection.send(#"{"type":"get","id":"g","key":\#(JSON.quote(key))}"#)
            return try await replies.answer(to: "g")
        }
        if options.json { Output.line(answer.line) }
        guard answer.bool("found") == true else {
            if !options.json { Output.complaint("\(key) has no value") }
            throw ExitCode(1)
        }
        if !options.json { Output.line(JSON.text(answer.raw("value"))) }
    }
}
