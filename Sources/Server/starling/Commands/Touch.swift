import ArgumentParser
import SyncClient
import SyncProtocol

/// `starling touch`
struct Touch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let a key live longer.",
        discussion: """
            Its value and its version stay. A time that is not later than its own changes nothing, and a key without an end has none \
            later. Ends with 1 where there is no such key.
            """)

    @Argument(help: "The key.")
    var key: String

    @Option(help: ArgumentHelp("How long it is to live from now.", valueName: "seconds"))
    var ttl: Double

    @OptionGroup var options: ClientOptions

    func run() async throws {
        guard ttl > 0, ttl.isFinite else { throw ValidationError("--ttl is in seconds, and more than 0") }
        let answer = try await options.connect { connection, replies in
            try await connection.send(#"{"type":"touch","id":"t","key":\#(JSON.quote(key)),"ttl":\#(ttl)}"#)
            return try await replies.answer(to: "t")
        }
        if options.json { Output.line(answer.line) }
        guard answer.bool("applied") == true else {
            if !options.json { Output.complaint("\(key) has no value") }
            throw ExitCode(1)
        }
    }
}
