import Crypto
import Foundation
import JWTKit

/// A key that JSON Web Tokens are verified by, for one algorithm: what a token's header names never chooses how a key is
/// used.
struct VerificationKey: Sendable {
    private enum Material: Sendable {
        case hmac(Data)
        case ecdsa(ES256PublicKey)
        case eddsa(EdDSA.PublicKey)
    }

    private static let maximumKeys = 64

    /// A digest of the key, by which a grant is known to be still good when keys change.
    let digest: String
    let id: String?
    private let material: Material

    var algorithm: String {
        switch material {
        case .hmac: "HS256"
        case .ecdsa: "ES256"
        case .eddsa: "EdDSA"
        }
    }

    private init(_ material: Material, id: String? = nil, bytes: Data) {
        self.material = material
        self.id = id
        digest = SHA256.hash(data: bytes).hex
    }

    /// - Throws: when the token is not signed by this key.
    func verify(_ token: String) async throws -> IssuerRule.Claims {
        let collection = JWTKeyCollection()
        switch material {
        case .hmac(let secret): await collection.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
        case .ecdsa(let key): await collection.add(ecdsa: key)
        case .eddsa(let key): await collection.add(eddsa: key)
        }
        return try await collection.verify(token, as: IssuerRule.Claims.self)
    }

    // MARK: Files

    static func secret(_ data: Data, _ file: String) throws(ServerError) -> VerificationKey {
        let secret = data.last == UInt8(ascii: "\n") ? data.dropLast() : data
        // RFC 7518, section 3.2: no shorter than what the hash puts out.
        guard secret.count >= 32 else {
            throw ServerError("\(file) is \(secret.count) bytes; a secret for HS256 must be 32 or more")
        }
        return VerificationKey(.hmac(Data(secret)), bytes: Data(secret))
    }

    static func publicKeys(_ data: Data, _ file: String) throws(ServerError) -> [VerificationKey] {
        let text = String(decoding: data, as: UTF8.self)
        if text.contains("-----BEGIN") {
            guard text.components(separatedBy: "-----BEGIN").count == 2 else {
                throw ServerError("\(file) has more than one key; a JWKS can have several")
            }
            guard let key = pem(text) else { throw ServerError("\(file) is no public key for ES256 or EdDSA") }
            return [key]
        }
        let decoder = JSONDecoder()
        let keys: [JWK]
        if let set = try? decoder.decode(KeySet.self, from: data) {
            keys = set.keys.compactMap(\.key)
        } else if let key = try? decoder.decode(JWK.self, from: data) {
            keys = [key]
        } else {
            throw ServerError("\(file) is neither a JWKS, nor a JWK, nor PEM")
        }
        // A set may have keys for other purposes and of other kinds, which are passed over.
        let usable = keys.prefix(maximumKeys).compactMap(Self.init(jwk:))
        if usable.isEmpty { throw ServerError("\(file) has no public key for ES256 or EdDSA") }
        return usable
    }

    /// A JWKS, in which keys of kinds that are not known are passed over (RFC 7517, section 5).
    private struct KeySet: Decodable {
        struct Element: Decodable {
            var key: JWK?

            init(from decoder: any Decoder) {
                key = try? JWK(from: decoder)
            }
        }

        var keys: [Element]
    }

    private static func pem(_ text: String) -> VerificationKey? {
        let bytes = Data(text.utf8)
        if let key = try? ES256PublicKey(pem: text) { return VerificationKey(.ecdsa(key), bytes: bytes) }
        if let key = try? EdDSA.PublicKey(pem: text) { return VerificationKey(.eddsa(key), bytes: bytes) }
        return nil
    }

    private init?(jwk: JWK) {
        let id = jwk.keyIdentifier?.string
        switch (jwk.keyType, jwk.curve) {
        case (.ecdsa, JWK.Curve.ecdsa(.p256)):
            guard let x = jwk.x, let y = jwk.y, let key = try? ES256PublicKey(parameters: (x, y)) else { return nil }
            self.init(.ecdsa(key), id: id, bytes: Data("\(x).\(y)".utf8))
        case (.octetKeyPair, JWK.Curve.eddsa(.ed25519)):
            guard let x = jwk.x, let key = try? EdDSA.PublicKey(x: x, curve: .ed25519) else { return nil }
            self.init(.eddsa(key), id: id, bytes: Data(x.utf8))
        default: return nil
        }
    }
}

/// What a JSON Web Token says of itself before anything is verified: no more than which rule and key to verify it by.
struct TokenHeader: Decodable {
    var alg: String
    var kid: String?
    /// Extensions that must be understood (RFC 7515, section 4.1.11): none is.
    var crit: [String]?

    private struct Issued: Decodable {
        var iss: String?
    }

    /// - Returns: nil when `token` is no JSON Web Token that could be verified.
    static func read(_ token: String) -> (header: TokenHeader, issuer: String)? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let head = decode(parts[0]), let body = decode(parts[1]) else { return nil }
        let decoder = JSONDecoder()
        guard let header = try? decoder.decode(TokenHeader.self, from: head), header.crit == nil,
            let issuer = try? decoder.decode(Issued.self, from: body).iss
        else { return nil }
        return (header, issuer)
    }

    private static func decode(_ part: Substring) -> Data? {
        let text = part.replacing("-", with: "+").replacing("_", with: "/")
        return Data(base64Encoded: text + String(repeating: "=", count: (4 - text.count % 4) % 4))
    }
}
