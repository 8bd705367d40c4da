package import Foundation

/// The access file as it is written: JSON, in which comments are allowed (JSON5). docs/security.md describes it.
package struct AccessFile: Codable, Equatable, Sendable {
    package var tokens: [Token]?
    package var issuers: [Issuer]?
    /// What those may do who bring no credentials; absent: nothing.
    package var anonymous: Rule?

    /// What a rule allows.
    package struct Rule: Codable, Equatable, Sendable {
        package var read: [String]?
        package var write: [String]?
        package var limits: Limits?

        package init(read: [String]? = nil, write: [String]? = nil) {
            self.read = read
            self.write = write
        }
    }

    package struct Limits: Codable, Equatable, Sendable {
        package var messagesPerSecond: Int?
        package var bytesPerSecond: Int?
        package var keys: Int?

        enum CodingKeys: String, CodingKey, CaseIterable {
            case messagesPerSecond = "messages_per_second"
            case bytesPerSecond = "bytes_per_second"
            case keys
        }
    }

    /// A token. Its secret is not here, only what it hashes to.
    package struct Token: Codable, Equatable, Sendable {
        package var id: String
        /// SHA-256 of the secret, in hex.
        package var sha256: String
        package var agent: String?
        package var read: [String]?
        package var write: [String]?
        /// When it ends: RFC 3339.
        package var expires: String?
        package var monitor: Bool?
        package var limits: Limits?

        package init(id: String, sha256: String) {
            self.id = id
            self.sha256 = sha256
        }
    }

    /// Somebody whose JSON Web Tokens are taken.
    package struct Issuer: Codable, Equatable, Sendable {
        package var id: String
        /// The `iss` of its tokens.
        package var issuer: String
        /// What their `aud` has to name.
        package var audience: String
        /// A file of public keys: a JWKS, a JWK, or PEM.
        package var keysFile: String?
        /// A file with a shared secret, for HS256.
        package var secretFile: String?
        /// `${sub}` stands for the token's subject, here and in the patterns.
        package var agent: String?
        package var read: [String]?
        package var write: [String]?
        package var monitor: Bool?
        package var limits: Limits?

        enum CodingKeys: String, CodingKey, CaseIterable {
            case id, issuer, audience, agent, read, write, monitor, limits
            case keysFile = "keys_file"
            case secretFile = "secret_file"
        }
    }

    package init() {}

    /// Reads a file's text.
    ///
    /// - Throws: ``ServerError`` that says what is wrong, and where.
    package init(_ data: Data) throws(ServerError) {
        // Foundation's reader of JSON5 traps on bytes that are no text.
        guard String(validating: data, as: UTF8.self) != nil else { throw ServerError("it is no text in UTF-8") }
        let decoder = JSONDecoder()
        decoder.allowsJSON5 = true
        do {
            try Self.checkNames(decoder.decode(JSONShape.self, from: data))
            self = try decoder.decode(AccessFile.self, from: data)
        } catch let error as DecodingError {
            throw ServerError(Self.text(error))
        } catch let error as ServerError {
            throw error
        } catch {
            throw ServerError("it is no JSON")
        }
    }

    /// A rule with a name that is not known would say something that the server does not hear: `"reads"`.
    private static func checkNames(_ file: JSONShape) throws(ServerError) {
        try check(file, ["tokens", "issuers", "anonymous"], "the file")
        for (list, known) in [("tokens", tokenNames), ("issuers", Issuer.CodingKeys.allCases.map(\.rawValue))] {
            for (index, rule) in (file[list]?.elements ?? []).enumerated() {
                try check(rule, known, "\(list)[\(index)]")
            }
        }
        if let rule = file["anonymous"] { try check(rule, ["read", "write", "limits"], "anonymous") }
    }

    private static let tokenNames = ["id", "sha256", "agent", "read", "write", "expires", "monitor", "limits"]

    private static func check(_ object: JSONShape, _ known: [String], _ place: String) throws(ServerError) {
        for name in object.names.sorted() where !known.contains(name) {
            throw ServerError("\(place) has \"\(name)\", which is nothing that a rule can say")
        }
        if let limits = object["limits"], known.contains("limits") {
            try check(limits, Limits.CodingKeys.allCases.map(\.rawValue), "\(place).limits")
        }
    }

    /// The names in a JSON text, without the values.
    private enum JSONShape: Decodable {
        case object([String: JSONShape])
        case array([JSONShape])
        case other

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let object = try? container.decode([String: JSONShape].self) {
                self = .object(object)
            } else if let array = try? container.decode([JSONShape].self) {
                self = .array(array)
            } else {
                self = .other
            }
        }

        var names: [String] { if case .object(let members) = self { Array(members.keys) } else { [] } }
        var elements: [JSONShape] { if case .array(let elements) = self { elements } else { [] } }

        subscript(name: String) -> JSONShape? {
            if case .object(let members) = self { members[name] } else { nil }
        }
    }

    private static func text(_ error: DecodingError) -> String {
        func place(_ path: [any CodingKey]) -> String {
            path.map { key in key.intValue.map { "[\($0)]" } ?? ".\(key.stringValue)" }.joined().drop { $0 == "." }
                .description
        }
        return switch error {
        case .keyNotFound(let key, let context):
            "\(place(context.codingPath)) has no \"\(key.stringValue)\""
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "\(place(context.codingPath)) is of the wrong kind"
        case .dataCorrupted: "it is no JSON"
        @unknown default: "it is no JSON"
        }
    }
}
