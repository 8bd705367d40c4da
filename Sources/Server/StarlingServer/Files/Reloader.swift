import Logging
import SQLiteStore
import SyncEngine
import Synchronization
import Transport

/// Reads access rules, certificates and encryption keys again when their files change. What cannot be used changes nothing,
/// and is said in the log: once, however often it is tried.
final class Reloader: Sendable {
    private let logger: Logger
    private let complaints = Mutex<[String: String]>([:])

    init(logger: Logger) {
        self.logger = logger
    }

    /// - Parameter then: is called after the rules have changed.
    func accessRules(_ access: AccessControl, then: @escaping @Sendable () -> Void) -> FileWatch.Subject {
        FileWatch.Subject(files: { access.files }) { [self] isFirst in
            attempt("Access rules") { () throws(ServerError) in
                try access.reload()
                then()
                // At the start they have just been read; it is done again for what changed since.
                logger.log(level: isFirst ? .debug : .notice, "Access rules were read again")
            }
        }
    }

    func certificates(_ certificates: ServerCertificates) -> FileWatch.Subject {
        FileWatch.Subject(files: { certificates.paths }) { [self] isFirst in
            attempt("Certificates") { () throws(CertificateError) in
                try certificates.reload()
                logger.log(level: isFirst ? .debug : .notice, "Certificates were read again")
                if let problem = certificates.problem(at: SystemClock.now()) {
                    logger.warning("The server's certificate is not valid now", metadata: ["problem": "\(problem)"])
                }
            }
        }
    }

    /// - Parameter then: is called when values are encrypted with another key from now on.
    func encryptionKeys(
        _ cipher: ValueCipher, of database: SQLiteDatabase, then: @escaping @Sendable () -> Void
    ) -> FileWatch.Subject {
        FileWatch.Subject(files: { [cipher.path] }) { [self] _ in
            attempt("Encryption keys") { () throws(StoreError) in
                guard try database.reloadKeys() else { return }
                logger.notice("Values are encrypted with a new key", metadata: ["key": "\(cipher.currentID)"])
                then()
            }
        }
    }

    /// What cannot be used as it is now, a sentence each; the server goes on with what it read before.
    var problems: [String] {
        complaints.withLock { complaints in complaints.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" } }
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
