import ArgumentParser
import NIOCore
import SyncClient
import SyncProtocol

/// What all commands that talk to a server share.
struct ClientOptions: ParsableArguments {
    @Option(help: "The server; else STARLING_URL in the environment. (default: ws://127.0.0.1:7827/sync)")
    var url: String?

    /// The server's URL.
    var server: String { Self.server(url) }

    static func server(_ url: String?) -> String {
        url ?? (try? Environment().string("url")) ?? standardServer
    }

    static let standardServer = "ws://127.0.0.1:7827/sync"

    @Flag(help: "Print the server's messages as they are, one a line.")
    var json = false

    @Option(help: "The name to act under.")
    var agent: String?

    @OptionGroup var way: ConnectionOptions

    /// Connects, says hello if there is a name, and runs `body`.
    func connect<Result: Sendable>(
        _ body: @Sendable (SyncConnection, inout Replies) async throws -> Result
    ) async throws -> Result {
        let agent = agent
        return try await way.open(server) { connection, messages in
            var replies = Replies(messages.makeAsyncIterator())
            if let agent {
                try await connection.send(#"{"type":"hello","id":"hello","agent":\#(JSON.quote(agent))}"#)
                _ = try await replies.answer(to: "hello")
            }
            return try await body(connection, &replies)
        }
    }
}

/// How to get into a server.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The credentials to show; better in the environment, as STARLING_TOKEN, where no list of processes has it.",
            valueName: "token"))
    var token: String?

    @Option(
        name: .customLong("ca"),
        help: ArgumentHelp(
            "The roots (PEM) that the certificate of a wss:// server may come from. (default: this machine's)",
            valueName: "file"))
    var roots: String?

    @Option(
        help: ArgumentHelp("The certificate (PEM) to show a server that wants one.", valueName: "file"))
    var cert: String?

    @Option(help: ArgumentHelp("Its private key (PEM).", valueName: "file"))
    var key: String?

    func identity() throws -> Dialer.Identity? {
        switch (cert, key) {
        case (let cert?, let key?): return Dialer.Identity(certificates: cert, key: key)
        case (nil, nil): return nil
        case (_?, nil): throw UsageError("--cert is of no use without --key")
        case (nil, _?): throw UsageError("--key is of no use without --cert")
        }
    }

    func open<Result: Sendable>(
        _ url: String, _ body: @Sendable (SyncConnection, SyncConnection.Messages) async throws -> Result
    ) async throws -> Result {
        try await SyncConnection.open(url, token: try credentials(), roots: roots, identity: try identity(), body)
    }

    func credentials() throws -> String? {
        let token = try token ?? Environment().string("token")
        if let token, token.utf8.contains(where: { !(0x21...0x7E ~= $0) }) {
            throw UsageError("the token has characters that no token has")
        }
        return token
    }
}

/// What the server sends.
struct Replies {
    private var iterator: SyncConnection.Messages.AsyncIterator

    init(_ iterator: SyncConnection.Messages.AsyncIterator) {
        self.iterator = iterator
    }

    /// The next message; nil at the end of the connection.
    mutating func next() async throws -> JSONObject? {
        guard let message = try await iterator.next() else { return nil }
        do throws(JSONError) {
            return try JSONObject(Array(message.readableBytesView))
        } catch {
            throw ClientError(.protocolViolation, "the server sent what is no message: \(error)")
        }
    }

    /// The next message that answers `id`.
    ///
    /// - Throws: ``ServerRefusal`` when that is an error.
    mutating func answer(to id: String) async throws -> JSONObject {
        while let message = try await next() {
            guard message.string("id") == id else { continue }
            if message.string("type") == "error" { throw ServerRefusal(message) }
            return message
        }
        throw ClientError(.unavailable, "the server closed the connection without an answer")
    }
}

/// JSON for the commands.
enum JSON {
    /// `text` as a JSON string.
    static func quote(_ text: String) -> String {
        var buffer = ByteBuffer()
        buffer.writeJSONString(text)
        return String(buffer: buffer)
    }

    /// `text` if it is JSON, else `text` as a JSON string.
    static func value(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var scanner = JSONScanner()
        scanner.skipWhitespace(bytes.span)
        guard (try? scanner.skipValue(bytes.span)) != nil else { return quote(text) }
        scanner.skipWhitespace(bytes.span)
        return scanner.position == bytes.count ? text : quote(text)
    }

    /// A value on one line: within strings JSON has no line breaks, and between them a space does as well.
    static func line(_ bytes: [UInt8]?) -> String {
        // Within strings of JSON it can be written another way, and there is none elsewhere.
        let line = text(ExportLine.oneLine(bytes ?? []))
        guard line.unicodeScalars.contains(where: movesTerminal) else { return line }
        return line.unicodeScalars.map { scalar in
            guard movesTerminal(scalar) else { return String(scalar) }
            let digits = String(scalar.value, radix: 16)
            return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }.joined()
    }

    /// Whether a terminal does something with it that JSON has no escape for of itself: DEL, C1 controls, and what turns text around.
    private static func movesTerminal(_ scalar: Unicode.Scalar) -> Bool {
        0x7F...0x9F ~= scalar.value || scalar.properties.isBidiControl
    }

    static func text(_ bytes: [UInt8]?) -> String {
        String(decoding: bytes ?? [], as: UTF8.self)
    }
}

extension JSONObject {
    /// The message as one line of JSON.
    var line: String {
        "{" + members.map { "\(JSON.quote($0.name)):\(JSON.line($0.value))" }.joined(separator: ",") + "}"
    }
}
