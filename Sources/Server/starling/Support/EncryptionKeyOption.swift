import ArgumentParser
import SQLiteStore
import SyncEngine

/// The option of all commands that read values out of a database's file.
struct EncryptionKeyOption: ParsableArguments {
    @Option(help: ArgumentHelp("The keys that values in files are encrypted with.", valueName: "file"))
    var encryptionKeyFile: String?

    /// What values are decrypted by; nil where no keys are given.
    func cipher() throws -> ValueCipher? {
        try (encryptionKeyFile ?? Environment().string("encryption-key-file"))
            .map { path throws(StoreError) in try ValueCipher(path: path) }
    }
}
