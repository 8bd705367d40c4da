import Logging
import SQLiteStore
import SyncEngine
import Synchronization
import Transport

/// Reads access rules, certificates and encryption keys again. What cannot be used changes nothing, and is said in the log:
/// once, however often it is tried.
final class Reloader: Sendable {
    private let access: AccessControl?
    private let certificates: ServerCertificates?
    private let cipher: ValueCipher?
    private let logger: Logger
    private let isFirst = Mutex(true)
    private let complaints = Mutex<[String: String]>([:])

    init(access: AccessControl?, certificates: ServerCertificates?, cipher: ValueCipher?, logger: Logger) {
        self.access = access
        self.certificates = certificates
        self.cipher = cipher
        self.logger = logger
    }

    /// - Returns: whether all of it could be used.
    func run(rulesChanged: () -> Void, keysChanged: () -> Void) -> Bool {
        // At the start they have just been read; it is done again for what changed since.
        let level: Logger.Level = isFirst.withLock { $0 } ? .debug : .notice
        isFirst.withLock { $0 = false }
        var isGood = true
        if let access {
            isGood = attempt("Access rules") { () throws(ServerError) in
                try access.reload()
                rulesChanged()
                logger.log(level: level, "Access rules were read again")
            }
        }
        if let certificates {
            isGood =
                attempt("Certificates") { () throws(CertificateError) in
                    try certificates.reload()
                    logger.log(level: level, "Certificates were read again")
                } && isGood
        }
        if let cipher {
            isGood =
                attempt("Encryption keys") { () throws(StoreError) in
                    guard try cipher.reload() else { return }
                    logger.notice("Values are encrypted with a new key", metadata: ["key": "\(cipher.currentID)"])
                    keysChanged()
                } && isGood
        }
        return isGood
    }

    private func attempt<Failure: Error>(_ what: String, _ body: () throws(Failure) -> Void) -> Bool {
        do throws(Failure) {
            try body()
            complaints.withLock { $0[what] = nil }
            return true
        } catch {
            let isNew = complaints.withLock { complaints in
                defer { complaints[what] = "\(error)" }
                return complaints[what] != "\(error)"
            }
            if isNew { logger.error("\(what) stay as they were", metadata: ["error": "\(error)"]) }
            return false
        }
    }
}
