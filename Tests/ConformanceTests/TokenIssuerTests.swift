import Crypto
import Foundation
import JWTKit
import StarlingServer
import SyncProtocol
import TestSupport
import Testing

extension ConformanceTests {
    /// JSON Web Tokens: those that an issuer's rule covers are taken, and no others.
    struct TokenIssuerTests {
        struct Claims: JWTPayload {
            var iss: String? = "https://id.example"
            var sub: String? = "ann"
            var aud: String? = "starling"
            var exp: Int? = Int(Date().timeIntervalSince1970) + 600
            var nbf: Int?
            var read: [String]?
            func verify(using algorithm: some JWTAlgorithm) {}
        }

        private static let secret = "0123456789abcdef0123456789abcdef"

        /// Each way to sign, with what the rule says of its keys.
        private static func signer(_ algorithm: String, _ access: AccessFixture) async throws -> JWTKeyCollection {
            let keys = JWTKeyCollection()
            var issuer = try AccessFile(
                Data(
                    """
                    {issuers: [{id: "corp", issuer: "https://id.example", audience: "starling",
                      keys_file: "keys", read: ["agent:${sub}:*", "shared:*"], write: ["agent:${sub}:*"]}]} // JSON5
                    """.utf8)
            ).issuers![0]
            let file = access.folder.appending(path: "keys")
            switch algorithm {
            case "HS256":
                await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
                issuer.keysFile = nil
                issuer.secretFile = "keys"
                try Data("\(secret)\n".utf8).write(to: file)
            case "ES256":
                let key = ES256PrivateKey()
                await keys.add(ecdsa: key)
                try Data(key.publicKey.pemRepresentation.utf8).write(to: file)
            default:
                let key = try EdDSA.PrivateKey()
                await keys.add(eddsa: key, kid: "k1")
                let x = key.publicKey.rawRepresentation.base64EncodedString().replacing("+", with: "-")
                    .replacing("/", with: "_").replacing("=", with: "")
                let set =
                    #"{"keys":[{"kty":"RSA","kid":"other","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"\#(x)"}]}"#
                try Data(set.utf8).write(to: file)
            }
            access.file.issuers = [issuer]
            try access.save()
            return keys
        }

        private static func status(_ server: ServerProcess, _ token: String) throws -> String {
            let client = try RawClient(port: server.port)
            try client.send(raw: RawClient.handshake(extra: "Authorization: Bearer \(token)\r\n"))
            return String(try client.readHead().dropFirst(9).prefix(3))
        }

        @Test("Tokens of an issuer give what its rule says to their subject", arguments: ["HS256", "ES256", "EdDSA"])
        func accepted(algorithm: String) async throws {
            let access = try AccessFixture()
            let keys = try await Self.signer(algorithm, access)
            let server = try access.start()
            let client = try RawClient.connected(server, token: try await keys.sign(Claims()))
            try client.send(#"{"type":"broadcast","id":1,"key":"agent:ann:1","value":1}"#)
            #expect(try client.receive(type: "ack").string("version")?.hasSuffix("-ann") == true)
            try client.send(#"{"type":"broadcast","id":1,"key":"agent:bob:1","value":1}"#)
            #expect(try client.receive(type: "error").string("code") == "forbidden")
            // A token can say that it wants less than the rule gives.
            let narrow = try RawClient.connected(server, token: try await keys.sign(Claims(read: ["shared:*"])))
            try narrow.send(#"{"type":"get","id":1,"key":"agent:ann:1"}"#)
            #expect(try narrow.receive(type: "error").string("code") == "forbidden")
            try narrow.send(#"{"type":"get","id":1,"key":"shared:1"}"#)
            #expect(try narrow.receive(type: "register").string("key") == "shared:1")
        }

        @Test(
            "Tokens that are too late, too early, another's, or signed by somebody else are refused",
            arguments: ["HS256", "ES256", "EdDSA"])
        func refused(algorithm: String) async throws {
            let access = try AccessFixture()
            let keys = try await Self.signer(algorithm, access)
            let server = try access.start()
            let now = Int(Date().timeIntervalSince1970)
            let good = try await keys.sign(Claims())
            #expect(try Self.status(server, good) == "101")
            for claims in [
                Claims(exp: now - 600), Claims(exp: nil), Claims(nbf: now + 600), Claims(aud: "other"),
                Claims(aud: nil),
                Claims(iss: "https://evil.example"), Claims(iss: nil), Claims(sub: "a:b"), Claims(sub: nil),
                Claims(sub: ""),
                Claims(read: ["***"]),
            ] {
                #expect(try await Self.status(server, keys.sign(claims)) == "401", "\(claims)")
            }
            let parts = good.split(separator: ".").map(String.init)
            let none = Data(#"{"alg":"none","typ":"JWT"}"#.utf8).base64EncodedString().replacing("=", with: "")
            // Signed with what everybody knows: the text of the public key, as if it were a secret.
            let file = try String(contentsOf: access.folder.appending(path: "keys"), encoding: .utf8)
            let confused = JWTKeyCollection()
            await confused.add(hmac: HMACKey(from: file), digestAlgorithm: .sha256)
            let strangers = try await JWTKeyCollection().add(eddsa: EdDSA.PrivateKey(), kid: "k1")
            for token in [
                "\(none).\(parts[1]).", "\(none).\(parts[1]).\(parts[2])", "\(parts[0]).\(parts[1]).",
                "\(parts[0]).\(parts[1])",
                "\(parts[0]).\(parts[1]).\(parts[2].reversed())", try await confused.sign(Claims()),
                try await strangers.sign(Claims()), "..", "a.b.c", String(repeating: "a", count: 9_000),
            ] {
                let isSame = algorithm == "HS256" && token.hasPrefix("eyJ") && token == good
                if !isSame { #expect(try Self.status(server, token) == "401", "\(token.prefix(200))") }
            }
        }

        @Test("When an issuer's key is taken away, so are the connections of tokens that it signed")
        func rotated() async throws {
            let access = try AccessFixture()
            let keys = try await Self.signer("EdDSA", access)
            let server = try access.start()
            let token = try await keys.sign(Claims())
            let client = try RawClient.connected(server, token: token)
            let file = access.folder.appending(path: "keys")
            // One more key is no reason to end anything.
            let set = try String(contentsOf: file, encoding: .utf8)
            let more = set.replacing("{\"keys\":[", with: "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},")
            try Data(more.utf8).write(to: file, options: .atomic)
            try ServerProcess.until {
                let log = try String(contentsOf: server.folder.appending(path: "server.log"), encoding: .utf8)
                return log.contains("rules were read again") ? true : nil
            }
            try client.send(#"{"type":"ping","id":1}"#)
            _ = try client.receive(type: "pong")
            let other = try EdDSA.PrivateKey().publicKey.rawRepresentation.base64EncodedString()
                .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            try Data(#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"\#(other)"}]}"#.utf8)
                .write(to: file, options: .atomic)
            #expect(try client.receive(type: "bye").string("code") == "access_changed")
            #expect(try Self.status(server, token) == "401")
        }
    }
}
