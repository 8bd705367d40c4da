import ArgumentParser
import Foundation
import NIOCore
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol

/// `starling export`
struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a database as lines of JSON, beside a running server or without one.",
        discussion: """
            One register a line, in the order of keys, with its version, so that an import merges: what is newer in the \
            other database stays. Deletes are lines too. Values are plain text. One that has line breaks stands there twice: on \
            one line as 'value', and as it is, in a string, as 'value_text'.

              starling export > everything.jsonl
              starling export --pattern 'task:*' --values-only | jq .value
            """)

    @Option(help: "Only keys that match this pattern.")
    var pattern: String = "*"

    @Flag(help: "Leave out what is deleted or has expired.")
    var valuesOnly = false

    @OptionGroup var options: DataOption

    func run() throws {
        let pattern = try Pattern(typed: pattern)
        let now = WallTime.now
        var progress = Progress("export")
        var count = 0
        var buffer = ByteBuffer()
        let file = try options.file()
        if let caveat = try file.caveat() { Output.complaint(caveat) }
        try file.forEachRegister { stored in
            guard pattern.matches(stored.register.key), !valuesOnly || stored.register.isVisible(at: now) else {
                return
            }
            ExportLine.write(stored, to: &buffer)
            count += 1
            if buffer.readableBytes >= 1 << 16 { flush(&buffer) }
            progress.show("\(count) registers")
        }
        flush(&buffer)
        progress.clear()
    }

    private func flush(_ buffer: inout ByteBuffer) {
        Output.bytes(buffer.readableBytesView)
        buffer.clear()
    }

}

extension Pattern {
    /// What a person typed as a pattern.
    init(typed text: String) throws {
        do {
            try self.init(text)
        } catch {
            throw UsageError("\(error)")
        }
    }
}

/// `starling import`
struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Merge lines of JSON into a database.",
        discussion: """
            Reads what 'starling export' of any version writes, from a file or standard input. Lines with a version are merged: nothing \
            newer is lost, and importing twice changes nothing. Lines with just a key and a value are written now.

            No server may have the database open; it is made if it is not there.
            """)

    @Argument(help: "The file to read, or '-' for standard input.")
    var source: String = "-"

    @OptionGroup var options: DataOption

    func run() throws {
        if source != "-" {
            // Lines are read from standard input, whichever file that is.
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: source, isDirectory: &isFolder), isFolder.boolValue {
                throw StoreError("\(source) is a folder")
            }
            let file = open(source, O_RDONLY)
            guard file >= 0, dup2(file, STDIN_FILENO) >= 0 else {
                throw StoreError("cannot read \(source): \(String(cString: strerror(errno)))")
            }
            close(file)
        }
        var importer = try Importer(options.file())
        var progress = Progress("import")
        var reader = ExportReader()
        var count = 0
        do {
            while let object = try reader.next() {
                count += 1
                try importer.add(object)
                progress.show("\(reader.line) lines")
            }
        } catch {
            importer.finish()
            progress.clear()
            let problem = (error as? JSONError)?.problem == .notAnObject ? "it is no JSON object" : "\(error)"
            throw StoreError("line \(reader.line) is no register: \(problem). What is before it is imported")
        }
        importer.finish()
        progress.clear()
        let tally = importer.tally
        Output.line(
            "\(count) \(count == 1 ? "register" : "registers"): \(tally.applied) applied, \(tally.same) there already, \(tally.older) older than what is there"
        )
        for refusal in tally.refusals.prefix(10) { Output.complaint(refusal) }
        if !tally.refusals.isEmpty {
            let count = tally.refusals.count
            Output.complaint(count == 1 ? "1 register was refused" : "\(count) registers were refused")
            throw ExitCode(1)
        }
    }
}
