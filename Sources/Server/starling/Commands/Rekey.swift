import ArgumentParser
import Foundation
import Registers
import SQLiteStore
import SearchIndex
import StarlingServer
import SyncEngine

/// `starling rekey`
struct Rekey: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new key, and encrypt all values of a database with it.",
        discussion: """
            The key is put in front of the others in the key file, which is made if it is not there. A running server that has \
            the file (--encryption-key-file) notices, and encrypts everything anew while it serves; without a server this \
            command does it. The older keys are needed as long as backups from before are. A database that was not encrypted so \
            far, or by an earlier version, is encrypted with --encrypt-plain, before a server is started on it with the keys.

              starling rekey --encryption-key-file /etc/starling/keys --data /var/lib/starling/starling.db
            """)

    @Option(help: ArgumentHelp("The file of keys.", valueName: "file"))
    var encryptionKeyFile: String

    @Option(help: ArgumentHelp("The file of the database. (default: starling.db)", valueName: "file"))
    var data: String?

    @Flag(
        help:
            "Encrypt a database that was never encrypted, or by an earlier version. What it says now is taken for the truth."
    )
    var encryptPlain = false

    @Option(help: ArgumentHelp("How long to wait for a server to get on with it.", valueName: "seconds"))
    var patience = 60

    func run() async throws {
        let path = try data ?? Environment().string("data") ?? "starling.db"
        let id = try addKey()
        let file = DatabaseFile(path, cipher: try ValueCipher(path: encryptionKeyFile))
        Output.complaint("key \(id) is the first in \(encryptionKeyFile) now")
        if file.isInUse {
            Output.complaint("waiting for the server that has \(path) open to encrypt with it")
            try await waitForServer(file, id)
        } else if FileManager.default.fileExists(atPath: path) {
            try rewrite(file)
        }
        guard FileManager.default.fileExists(atPath: path) else {
            return Output.complaint("there is no \(path) yet: a server that makes it with these keys encrypts it")
        }
        // What it was searched by before that has its values as they are.
        try SearchIndex.delete(at: SearchIndex.path(beside: path))
        let count = try file.keyUsage()[id] ?? 0
        Output.line("all \(count) registers of \(path) are encrypted with key \(id)")
    }

    /// Puts a new key in front of the file's.
    private func addKey() throws -> String {
        let day = Date().formatted(.iso8601.year().month().day())
        let id = "\(day)-\(String(UInt32.random(in: .min ... .max), radix: 16))"
        return try SecretFile(path: encryptionKeyFile).change { old in
            // Not in front of what is no file of keys.
            if old != nil { _ = try ValueCipher(path: encryptionKeyFile) }
            return (Data("\(ValueCipher.EncryptionKey(id: id).line)\n".utf8) + (old ?? Data()), id)
        }
    }

    /// Watches a server do it.
    private func waitForServer(_ file: DatabaseFile, _ id: String) async throws {
        var last = Int.max
        var deadline = ContinuousClock.now + .seconds(patience)
        var progress = Progress("rekey")
        while true {
            let usage = try file.keyUsage()
            let left = usage.reduce(0) { $0 + ($1.key == id ? 0 : $1.value) }
            progress.show(usage[id] ?? 0, of: left + (usage[id] ?? 0))
            if left == 0 { return progress.clear() }
            if left < last { deadline = .now + .seconds(patience) }
            last = left
            guard ContinuousClock.now < deadline else {
                progress.clear()
                throw StoreError(
                    "the server that has \(file.path) open has not encrypted \(left) values with key \(id): was it started "
                        + "with --encryption-key-file \(encryptionKeyFile)? Its log says what it thinks of that file")
            }
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    /// Does it where there is no server to.
    private func rewrite(_ file: DatabaseFile) throws {
        var random = SystemRandomNumberGenerator()
        let now = WallTime.now
        var configuration = SQLiteDatabase.Configuration(path: file.path, cipher: file.cipher)
        configuration.encryptsPlain = encryptPlain
        let database = try SQLiteDatabase(
            configuration, now: now, random: &random, migrating: Output.migration(of: file.path))
        do {
            let writer = try database.makeWriter()
            while try writer.rekey(limit: 1_000) > 0 {}
        }
        try database.close(lastStamp: database.state.clockBound)
    }
}
