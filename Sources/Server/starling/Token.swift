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

        func read(mayBeAbsent: Bool = false) throws -> AccessFile {
            guard let data = FileManager.default.contents(atPath: path) else {
                if mayBeAbsent, !FileManager.default.fileExists(atPath: path) { return AccessFile() }
                throw ServerError("cannot read \(path)")
            }
            do throws(ServerError) {
                return try AccessFile(data)
            } catch {
                throw ServerError("\(path): \(error)")
            }
        }

        /// Changes the file, one command at a time.
        func change(mayBeAbsent: Bool = false, _ body: (inout AccessFile) throws -> Void) throws {
            let lockPath = target + ".lock"
            let lock = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard lock >= 0, flock(lock, LOCK_EX) == 0 else {
                throw ServerError("cannot lock \(lockPath): \(String(cString: strerror(errno)))")
            }
            defer { close(lock) }
            var file = try read(mayBeAbsent: mayBeAbsent)
            try body(&file)
            try write(file)
        }

        /// The file itself, where the path is a link to it.
        private var target: String { URL(filePath: path).resolvingSymlinksInPath().path }

        /// Puts a file in the place of the old one, all at once, for its owner's eyes only.
        private func write(_ file: AccessFile) throws {
            let path = target
            if let data = FileManager.default.contents(atPath: path),
                (try? JSONSerialization.jsonObject(with: data)) == nil
            {
                throw ServerError("\(path) has comments, which would be lost: change it by hand")
            }
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            let temporary = "\(path).new-\(ProcessInfo.processInfo.processIdentifier)"
            let data = try encoder.encode(file) + Data("\n".utf8)
            // An access file that somebody has let others read stays as it is.
            let old = try? FileManager.default.attributesOfItem(atPath: path)
            let mode = old?[.posixPermissions]
            guard
                FileManager.default.createFile(
                    atPath: temporary, contents: data, attributes: [.posixPermissions: mode ?? 0o600])
            else { throw ServerError("cannot write \(temporary)") }
            // The server that reads it may be another user's.
            if let owner = old?[.ownerAccountID] as? Int, let group = old?[.groupOwnerAccountID] as? Int,
                chown(temporary, uid_t(owner), gid_t(group)) != 0
            {
                try? FileManager.default.removeItem(atPath: temporary)
                throw ServerError("cannot keep \(path) its owner's: run this as the user that it belongs to")
            }
            guard rename(temporary, path) == 0 else {
                try? FileManager.default.removeItem(atPath: temporary)
                throw ServerError("cannot write \(path): \(String(cString: strerror(errno)))")
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
                throw ValidationError("a token's name is 1 to 64 letters, digits, '-' and '_'")
            }
            for pattern in read + write { _ = try Pattern(typed: pattern) }
            let secret = TokenSecret(id: id)
            var entry = AccessFile.Token(id: id, sha256: secret.hash)
            entry.agent = agent
            entry.read = read.isEmpty ? nil : read
            entry.write = write.isEmpty ? nil : write
            if let days {
                guard 1...36_500 ~= days else { throw ValidationError("--days must be from 1 to 36500") }
                entry.expires = Date(timeIntervalSinceNow: Double(days) * 86_400).ISO8601Format()
            }
            if monitor { entry.monitor = true }
            let new = entry
            try file.change(mayBeAbsent: true) { rules in
                if rules.tokens?.contains(where: { $0.id == id }) == true {
                    throw ServerError(
                        "\(file.path) has a token \(id) already; revoke that first, or choose another name")
                }
                rules.tokens = (rules.tokens ?? []) + [new]
            }
            Output.line(secret.text)
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
