public import Foundation
import NIOCore
import SyncProtocol

extension StarlingClient {
    /// What this client does itself, or has a method for that does more than ask.
    private static let notRequests: Set<String> = [
        "subscribe", "unsubscribe", "hello", "ping", "broadcast", "delete", "claim", "renew", "release", "batch",
    ]

    /// Asks the server what this client has no method for. It is not queued.
    ///
    /// - Parameters:
    ///   - type: that of the message (`protocol/README.md`).
    ///   - fields: its other fields, but for `id`: what is encoded as an object.
    /// - Returns: the answer as JSON, with all its fields.
    /// - Throws: ``StarlingError`` `bad_option`, `bad_value`, `offline`, `outcome_unknown`, and what the server has against it.
    public func request(
        _ type: String, _ fields: any Encodable & Sendable = [String: String](),
        timeout: Duration = StarlingClient.patience
    ) async throws -> Data {
        guard !Self.notRequests.contains(type) else {
            throw StarlingError(
                "bad_option",
                "\(type) cannot be asked like this: the client has a method for it, or does it by itself")
        }
        guard let object = try? JSONObject(Array(try Self.json(fields, of: type).utf8)) else {
            throw StarlingError("bad_value", "the fields of \(type) are no object")
        }
        var message = Message(type)
        for (name, value) in object.members where name != "id" && name != "type" {
            message.add(name, raw: String(decoding: value, as: UTF8.self))
        }
        let members = try await ask(message, type, timeout: timeout).members.map { name, value in
            Self.quoted(name) + Array(":".utf8) + value
        }
        return Data(Array("{".utf8) + members.joined(separator: Array(",".utf8)) + Array("}".utf8))
    }

    private static func quoted(_ name: String) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeJSONString(name)
        return Array(buffer.readableBytesView)
    }
}
