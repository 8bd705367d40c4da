import ArgumentParser
import Foundation
import Registers
import StarlingServer

/// `starling token`
struct Token: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, list and revoke the tokens of an access file.",
        discussion: """
            A running server notices within a second or two. To rotate a token, create another one, give that to its \
            users, and revoke the first.
            """,
        subcommands: [Create.self, List.self, Revoke.self])

    /// Where the tokens are.
    struct File: ParsableArguments {
        @Option(name: .customLong("access"), help: ArgumentHelp("The access file.", valueName: "file"))
        var path = "access.json"

        func read() throws -> AccessFile {
            guard let data = try SecretFile(path: path).read() else { throw ServerError("there is no \(path)") }
            return try parse(data)
        }

        private func parse(_ data: Data) throws -> AccessFile {
            do throws(ServerError) {
                return try AccessFile(data)
            } catch {
                throw ServerError("\(path): \(error)")
            }
        }

        /// Changes the file, which is made if it is not there.
        func change(_ body: (inout AccessFile) throws -> Void) throws {
            try SecretFile(path: path).change { data in
                if let data, (try? JSONSerialization.jsonObject(with: data)) == nil, (try? parse(data)) != nil {
                    throw ServerError("\(path) has comments, which would be lost: change it by hand")
                }
                var file = try data.map(parse) ?? AccessFile()
                try body(&file)
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
                return (try encoder.encode(file) + Data("\n".utf8), ())
            }
        }
    }

    /// `starling token create`
    struct Create: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a token, and print it. It cannot be shown again: the file keeps only a hash of it.",
            usage: "starling token create planner --read 'task:*' --write 'task:*' --write 'agent:planner:*'")

        @Argument(help: "Its name in the file.")
        var id: String

        @Option(help: ArgumentHelp("What it may read; may be repeated.", valueName: "pattern"))
        var read: [String] = []

        @Option(help: ArgumentHelp("What it may write, delete and claim; may be repeated.", valueName: "pattern"))
        var write: [String] = []

        @Option(help: ArgumentHelp("The name that it writes under. (default: any)", valueName: "name"))
        var agent: String?

        @Option(help: ArgumentHelp("For how many days it is valid. (default: until it is revoked)", valueName: "days"))
        var days: Int?

        @Flag(help: "Let it read /metrics.")
        var monitor = false

        @OptionGroup
        var file: File

        func run() throws {
            guard TokenSecret.isValid(id: id) else {
                throw UsageError("a token's name is 1 to 64 letters, digits, '-' and '_'")
            }
            for pattern in read + write { _ = try Pattern(typed: pattern) }
            let secret = TokenSecret(id: id)
            var entry = AccessFile.Token(id: id, sha256: secret.hash)
            entry.agent = agent
            entry.read = read.isEmpty ? nil : read
            entry.write = write.isEmpty ? nil : write
            if let days {
                guard 1...36_500 ~= days else { throw UsageError("--days must be from 1 to 36500") }
                entry.expires = Date(timeIntervalSinceNow: Double(days) * 86_400).ISO8601Format()
            }
            if monitor { entry.monitor = true }
            let new = entry
            try file.change { rules in
                if rules.tokens?.contains(where: { $0.id == id }) == true {
                    throw ServerError(
                        "\(file.path) has a token \(id) already; revoke that first, or choose another name")
                }
                rules.tokens = (rules.tokens ?? []) + [new]
            }
            Output.line(secret.text)
            if read.isEmpty, write.isEmpty, !monitor {
                FileHandle.standardError.write(
                    Data("starling: this token may do nothing yet: --read and --write say what it may\n".utf8))
            }
        }
    }

    /// `starling token list`
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show the tokens, one a line.")

        @OptionGroup
        var file: File

        func run() throws {
            for token in try file.read().tokens ?? [] {
                var line = "\(token.id)\tread: \(Self.text(token.read))\twrite: \(Self.text(token.write))"
                if let agent = token.agent { line += "\tagent: \(agent)" }
                if let expires = token.expires { line += "\tuntil: \(expires)" }
                if token.monitor == true { line += "\tmonitor" }
                Output.line(line)
            }
        }

        private static func text(_ patterns: [String]?) -> String {
            patterns.map { $0.joined(separator: " ") } ?? "nothing"
        }
    }

    /// `starling token revoke`
    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a token out of the file. Connections that use it are closed.")

        @Argument(help: "Its name in the file.")
        var id: String

        @OptionGroup
        var file: File

        func run() throws {
            try file.change { rules in
                guard rules.tokens?.contains(where: { $0.id == id }) == true else {
                    throw ServerError("\(file.path) has no token \(id)")
                }
                rules.tokens?.removeAll { $0.id == id }
            }
        }
    }
}
