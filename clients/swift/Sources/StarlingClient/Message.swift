import Foundation
import NIOCore
import Registers
import SyncProtocol

/// A message to the server, put together member by member.
struct Message {
    private var buffer = ByteBuffer()

    init(_ type: String) {
        self.init(member: "type", type)
    }

    /// Begins with another member: an object within a message.
    init(member name: String, _ text: String) {
        buffer.writeString("{")
        buffer.writeJSONString(name)
        buffer.writeString(":")
        buffer.writeJSONString(text)
    }

    /// Adds a member whose value is JSON already; nil adds nothing.
    mutating func add(_ name: String, raw json: String?) {
        guard let json else { return }
        buffer.writeString(",")
        buffer.writeJSONString(name)
        buffer.writeString(":")
        buffer.writeString(json)
    }

    mutating func add(_ name: String, _ text: String?) {
        guard let text else { return }
        buffer.writeString(",")
        buffer.writeJSONString(name)
        buffer.writeString(":")
        buffer.writeJSONString(text)
    }

    mutating func add(_ name: String, _ number: (some BinaryInteger)?) {
        add(name, raw: number.map { "\($0)" })
    }

    mutating func add(_ name: String, _ number: Double?) {
        add(name, raw: number.map { "\($0)" })
    }

    mutating func add(_ name: String, _ flag: Bool?) {
        add(name, raw: flag.map { $0 ? "true" : "false" })
    }

    var bytes: [UInt8] { Array(buffer.readableBytesView) + [UInt8(ascii: "}")] }
}

extension JSONObject {
    /// The register that an update, an answer or a winner shows; nil where it is none.
    func held(key text: String? = nil) -> Held? {
        guard let keyText = text ?? string("key"), let key = try? Key(keyText),
            let version = string("version").flatMap({ try? Version($0) })
        else { return nil }
        let isDeleted = bool("deleted") == true
        guard isDeleted || raw("value") != nil else { return nil }
        let register = Register(
            key: key, version: version, value: isDeleted ? nil : raw("value"),
            expiresAt: integer("expires_at").flatMap { UInt64(exactly: $0) }.map { WallTime(milliseconds: $0) },
            metadata: raw("metadata"),
            session: string("session").map { Array($0.utf8) }, cause: string("cause").flatMap(Register.Cause.init))
        return Held(register: register, revision: integer("revision").flatMap { UInt64(exactly: $0) })
    }
}

extension Engine {
    /// Whether a text is JSON of some kind, if no message.
    static func isJSON(_ bytes: [UInt8]) -> Bool {
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        scanner.skipWhitespace(bytes.span)
        guard (try? scanner.skipValue(bytes.span)) != nil else { return false }
        scanner.skipWhitespace(bytes.span)
        return scanner.position == bytes.count
    }
}
