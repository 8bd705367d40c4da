import ArgumentParser
import StarlingServer
import Transport

/// The options of `starling serve` that say who may connect, and do what.
struct ServeSecurity: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Who may do what: a file of tokens and issuers, which is read again when it changes.", valueName: "file"))
    var access: String?

    @Option(help: ArgumentHelp("Encrypt connections, with the certificates in this file (PEM).", valueName: "file"))
    var tlsCert: String?

    @Option(help: ArgumentHelp("The private key of the first of them (PEM).", valueName: "file"))
    var tlsKey: String?

    @Option(
        name: .customLong("tls-client-ca"),
        help: ArgumentHelp("Let in only clients with a certificate from one of these roots (PEM).", valueName: "file"))
    var tlsClientRoots: String?

    @Option(
        help: ArgumentHelp(
            "Encrypt values where they are stored, with the first key in this file; 'starling rekey' makes one.",
            valueName: "file"))
    var encryptionKeyFile: String?

    @Option(
        name: .customLong("allow-origin"),
        help: ArgumentHelp(
            "A web origin whose pages may connect, besides the server's own; may be repeated; '*' for any.",
            valueName: "origin"))
    var allowOrigin: [String] = []

    @Option(
        name: .customLong("trust-proxy"),
        help: ArgumentHelp(
            "An address, or a range like 10.0.0.0/8, whose X-Forwarded-For is believed; may be repeated.",
            valueName: "address"))
    var trustProxy: [String] = []

    @Flag(help: "Listen on an address that other machines reach, although everybody can read and write everything.")
    var insecureOpen = false

    func apply(to configuration: inout ServerConfiguration, _ environment: Environment) throws {
        configuration.access = try access ?? environment.string("access")
        configuration.encryptionKeys = try encryptionKeyFile ?? environment.string("encryption-key-file")
        let certificate = try tlsCert ?? environment.string("tls-cert")
        let key = try tlsKey ?? environment.string("tls-key")
        let roots = try tlsClientRoots ?? environment.string("tls-client-ca")
        switch (certificate, key) {
        case (let certificate?, let key?):
            configuration.certificates = ServerCertificates.Files(
                certificates: certificate, key: key, clientRoots: roots)
        case (nil, nil):
            if roots != nil { throw UsageError("--tls-client-ca is of no use without --tls-cert and --tls-key") }
        default: throw UsageError("--tls-cert and --tls-key go together")
        }
        configuration.allowedOrigins = Set(try allowOrigin.isEmpty ? environment.list("allow-origin") : allowOrigin)
        let proxies = try trustProxy.isEmpty ? environment.list("trust-proxy") : trustProxy
        configuration.connections.trustedProxies = try proxies.map { text in
            guard let range = AddressRange(text) else {
                throw UsageError("--trust-proxy is \"\(text)\"; it must be like 10.0.0.1 or 10.0.0.0/8")
            }
            return range
        }
        configuration.isOpenAllowed = try insecureOpen || environment.bool("insecure-open") ?? false
    }
}
