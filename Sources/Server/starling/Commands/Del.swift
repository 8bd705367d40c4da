import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling del`
struct Del: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delete a key.",
        discussion: "Subscribers are told. Deleting a key that has no value is no error.")

    @Argument(help: "The key.")
    var key: String

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let answer = try await options.connect { connection, replies in
            try await connection.send(#"{"type":"delete","id":"d","key":\#(JSON.quote(key))}"#)
            return try await replies.answer(to: "d")
        }
        if options.json { Output.line(answer.line) }
    }
}
