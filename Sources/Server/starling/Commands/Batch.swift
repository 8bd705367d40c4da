import ArgumentParser
import Foundation
import SyncClient
import SyncProtocol

/// `starling batch`
struct Batch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Change several keys in one commit, or none of them.",
        discussion: """
            The file has an object of JSON: {"writes":[{"key":"a","value":1},{"key":"b","delete":true}]}. A write may have "ttl", \
            "metadata", "session" and "expect" (a version, or null for absent); {"key":"lock","release":17} gives up the claim with that \
            fence. "require" lists what has to be in place besides: {"key":"c","version":null} (absent), or {"key":"lock","fence":17}. \
            Ends with 1 where something was not, which is then said, and nothing was changed.
            """)

    @Argument(help: ArgumentHelp("The file; - for the standard input.", valueName: "file"))
    var path = "-"

    @Option(
        help: ArgumentHelp(
            "Names the batch, so that it is safe to send again: for 15 minutes it is answered as the first time. At least 64 random bits.",
            valueName: "name"))
    var op: String?

    @OptionGroup var options: ClientOptions

    private static let fields: Set<String> = ["writes", "require", "op"]

    func run() async throws {
        let message = try message()
        let answer = try await options.connect { connection, replies in
            try await connection.send(message)
            return try await replies.answer(to: "b")
        }
        if options.json { Output.line(answer.line) }
        guard answer.bool("applied") == true else {
            if !options.json { complain(answer) }
            throw ExitCode(1)
        }
    }

    private func message() throws -> String {
        let text = try read()
        let object: JSONObject
        do throws(JSONError) {
            object = try JSONObject(text)
        } catch {
            throw UsageError(text.isEmpty ? "\(name) is empty" : "\(name) has no object of JSON: \(error)")
        }
        // What is not known is ignored by the server, and a mistyped "require" would be none.
        if let unknown = object.members.first(where: { !Self.fields.contains($0.name) }) {
            throw UsageError(
                "\(name) has a field \(JSON.quote(unknown.name)); there are \(Self.fields.sorted().joined(separator: ", "))"
            )
        }
        for member in object.members {
            guard let unknown = ClientMessage.Batch.unknownField(in: member.name, member.value) else { continue }
            throw UsageError("\(name): \(unknown)")
        }
        guard object.raw("writes") != nil else { throw UsageError("\(name) has no field \"writes\"") }
        if op != nil, object.raw("op") != nil { throw UsageError("--op is also a field of \(name): which is it?") }
        let members = object.members.map { "\(JSON.quote($0.name)):\(String(decoding: $0.value, as: UTF8.self))" }
        let named = op.map { ["\"op\":\(JSON.quote($0))"] } ?? []
        return "{\"type\":\"batch\",\"id\":\"b\",\((members + named).joined(separator: ","))}"
    }

    private var name: String { path == "-" ? "the standard input" : path }

    private func read() throws -> [UInt8] {
        if path == "-" { return Array(FileHandle.standardInput.readDataToEndOfFile()) }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw UsageError("\(path) cannot be read")
        }
        return Array(data)
    }

    private func complain(_ answer: JSONObject) {
        for failure in (answer.array("failed") ?? []).compactMap({ try? JSONObject($0) }) {
            let place =
                failure.integer("write").map { "writes[\($0)]" } ?? failure.integer("require").map { "require[\($0)]" }
            let key = failure.string("key") ?? ""
            Output.complaint("\(place ?? ""), \(key): \(Self.words(failure))")
        }
        Output.complaint("nothing was changed")
    }

    private static func words(_ failure: JSONObject) -> String {
        let current = failure.object("current")
        switch failure.string("reason") {
        case "held": return "it is under a claim\(current?.string("agent").map { " of \($0)" } ?? "")"
        case "stale_fence": return "the claim is not in force"
        case "too_many_keys": return "there are as many keys as these credentials may have"
        default:
            if let version = current?.string("version") { return "it has version \(version)" }
            return failure.raw("current") == nil ? "it is not as expected" : "it is absent"
        }
    }
}
