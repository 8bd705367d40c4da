import NIOCore
import NIOSSL
package import Registers
import Synchronization

/// How a server proves who it is (TLS 1.2 and later), and who it wants its clients to be. Can be exchanged while
/// connections are open: those go on with what they began with.
package final class ServerCertificates: Sendable {
    /// The files, in PEM.
    package struct Files: Equatable, Sendable {
        /// The server's certificate, and those between it and a root.
        package var certificates: String
        package var key: String
        /// The roots of the certificates that clients have to show; nil: none is asked for.
        package var clientRoots: String?

        package init(certificates: String, key: String, clientRoots: String? = nil) {
            self.certificates = certificates
            self.key = key
            self.clientRoots = clientRoots
        }
    }

    private let files: Files

    /// The files that they are read from.
    package var paths: [String] { [files.certificates, files.key] + [files.clientRoots].compactMap { $0 } }

    private struct Loaded {
        let context: NIOSSLContext
        /// From when to when the server's own certificate is good, in seconds since 1970.
        let validity: ClosedRange<Int>
    }

    private let loaded: Mutex<Loaded>

    /// What is wrong with the time of the server's certificate: clients refuse it. nil: nothing.
    package func problem(at time: WallTime) -> String? {
        let now = Int(time.milliseconds / 1_000)
        let validity = loaded.withLock { $0.validity }
        if now > validity.upperBound { return "\(files.certificates) has expired: clients refuse it" }
        if now < validity.lowerBound { return "\(files.certificates) is not valid yet: clients refuse it" }
        return nil
    }

    /// - Throws: ``CertificateError`` that names the file, and what is wrong with it.
    package init(_ files: Files) throws(CertificateError) {
        self.files = files
        loaded = Mutex(try Self.load(files))
    }

    /// Reads the files again. New connections use what they hold now.
    ///
    /// - Throws: ``CertificateError``; then everything stays as it was.
    package func reload() throws(CertificateError) {
        let new = try Self.load(files)
        loaded.withLock { $0 = new }
    }

    func makeHandler() -> NIOSSLServerHandler {
        NIOSSLServerHandler(context: loaded.withLock { $0.context })
    }

    private static func load(_ files: Files) throws(CertificateError) -> Loaded {
        let chain = try read(files.certificates) { try NIOSSLCertificate.fromPEMFile($0) }
        guard let own = chain.first else { throw CertificateError("\(files.certificates) holds no certificate") }
        let key = try read(files.key) { try NIOSSLPrivateKey(file: $0, format: .pem) }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if let roots = files.clientRoots {
            let certificates = try read(roots) { try NIOSSLCertificate.fromPEMFile($0) }
            if certificates.isEmpty { throw CertificateError("\(roots) holds no certificate") }
            configuration.trustRoots = .certificates(certificates)
            // A client's certificate names no host.
            configuration.certificateVerification = .noHostnameVerification
        }
        do {
            let (start, end) = (Int(own.notValidBefore), Int(own.notValidAfter))
            return Loaded(context: try NIOSSLContext(configuration: configuration), validity: start...max(start, end))
        } catch {
            throw CertificateError("\(files.certificates) and \(files.key) do not go together: \(error)")
        }
    }

    private static func read<Result>(
        _ path: String, _ body: (String) throws -> Result
    ) throws(CertificateError) -> Result {
        do {
            return try body(path)
        } catch {
            throw CertificateError("cannot read \(path) as PEM: \(error)")
        }
    }
}

/// Certificates that cannot be used, and why.
package struct CertificateError: Error, CustomStringConvertible, Sendable {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}
