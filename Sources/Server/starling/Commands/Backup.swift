import Agents
import ArgumentParser
import Foundation
import SQLiteStore
import StarlingServer

/// The option of all commands that work on a database's file.
struct DataOption: ParsableArguments {
    @Option(help: ArgumentHelp("The file of the database. (default: starling.db)", valueName: "file"))
    var data: String?

    @OptionGroup var encryption: EncryptionKeyOption

    func file() throws -> DatabaseFile {
        DatabaseFile(
            try data ?? Environment().string("data") ?? "starling.db", cipher: try encryption.cipher())
    }
}

/// `starling backup`
struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy a database to a file, beside a running server or without one.",
        discussion: """
            The copy is the database as it was when the command began, in one file that SQLite and 'starling restore' read. \
            It appears under its name when it is whole and on the disk.

              starling backup --data /var/lib/starling/starling.db nightly.db
            """)

    @Argument(help: "The file to write. It must not be there yet.")
    var copy: String

    @OptionGroup var options: DataOption

    func run() throws {
        var progress = Progress("backup")
        try options.file().backup(to: copy) { progress.show($0, of: $1) }
        progress.clear()
        let size = try FileManager.default.attributesOfItem(atPath: copy)[.size] as? Int ?? 0
        Output.line("\(copy): \(Progress.size(size))")
    }
}

/// `starling restore`
struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put a backup in the place of a database.",
        discussion: """
            No server may have the database open. The restored one has a new epoch: clients that come back with cursors of \
            the old one are given a fresh snapshot that replaces what they hold.
            """)

    @Argument(help: "What 'starling backup' wrote.")
    var backup: String

    @Flag(help: "Replace a database that is there; it is kept as <file>.before-restore, or -2, -3 and so on.")
    var force = false

    @OptionGroup var options: DataOption

    func run() throws {
        let file = try options.file()
        var progress = Progress("restore")
        var random = SystemRandomNumberGenerator()
        let aside = try file.restore(
            from: DatabaseFile(backup), replaces: force, now: .now,
            random: &random
        ) { progress.show($0, of: $1) }
        progress.clear()
        if let aside { Output.line("what was there is kept as \(aside)") }
        let check = try file.check()
        Output.line(
            "\(file.path): \(check.values) values up to revision \(check.head), in the new epoch \(check.epoch)")
        // It is there as it was in the backup; not all of it could be looked at.
        check.problems.forEach { Output.complaint($0) }
    }
}

/// `starling check`
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a database, beside a running server or without one.",
        discussion: """
            SQLite's own integrity check, and then every row: keys, versions, values, the clock's bound, and whether the tasks of swarms \
            agree with each other. Exits with 1 when something is wrong.
            """)

    @OptionGroup var options: DataOption

    func run() throws {
        let file = try options.file()
        let check = try file.check()
        Output.line(
            """
            \(file.path): epoch \(check.epoch), revision \(check.head)
            \(check.values) values (\(Progress.size(check.bytes))), of which \(check.expiring) expire and \(check.claims) are \
            claims; \(check.tombstones) deletes remembered, those up to revision \(check.collectedRevision) forgotten
            """)
        var problems = check.problems
        if problems.isEmpty {
            var audit = SwarmAudit(now: .now)
            try file.forEachRegister { audit.note($0) }
            if audit.count > 0 { Output.line("\(audit.count) tasks of swarms") }
            problems = audit.problems
        }
        guard problems.isEmpty else {
            problems.forEach { Output.complaint($0) }
            throw ExitCode(1)
        }
        Output.line("ok")
    }
}
