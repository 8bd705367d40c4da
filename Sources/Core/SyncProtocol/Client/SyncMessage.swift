package import NIOCore
import Registers

/// A message of a client that is made within the server: as it would be on the wire, put together member by member. What is wrong with it is
/// found out where it is for everybody, by the ``ClientMessageDecoder``.
package struct SyncMessage: Sendable {
    private var text = ByteBuffer()

    /// In bytes, about.
    package var size: Int { text.readableBytes }

    package init(_ type: String) {
        text.writeString("{\"type\":")
        text.writeJSONString(type)
    }

    /// Adds a text; nil adds nothing.
    package mutating func add(_ name: String, _ value: String?) {
        guard let value else { return }
        begin(name)
        text.writeJSONString(value)
    }

    /// Adds a number; nil adds nothing.
    package mutating func add(_ name: String, _ value: (some BinaryInteger)?) {
        guard let value else { return }
        begin(name)
        text.writeString("\(value)")
    }

    package mutating func add(_ name: String, _ value: Bool) {
        begin(name)
        text.writeString(value ? "true" : "false")
    }

    /// Adds what is JSON already; nil adds nothing.
    ///
    /// - Throws: ``WireError`` `bad_json` where it is not one value of JSON: what is behind that would be members of ours.
    package mutating func add(_ name: String, json: ByteBuffer?) throws(WireError) {
        guard let json else { return }
        var scanner = JSONScanner(maximumDepth: JSONScanner.maximumServerDepth)
        let bytes = json.readableBytesUInt8Span
        do throws(JSONError) {
            scanner.skipWhitespace(bytes)
            _ = try scanner.skipValue(bytes, depth: 1)
            scanner.skipWhitespace(bytes)
        } catch {
            throw WireError(.badJSON, "the \(name) is no JSON: \(error)")
        }
        guard scanner.position == bytes.count else {
            throw WireError(.badJSON, "there is something behind the \(name), at byte \(scanner.position)")
        }
        begin(name)
        text.writeImmutableBuffer(json)
    }

    private mutating func begin(_ name: String) {
        text.writeInteger(UInt8(ascii: ","))
        text.writeJSONString(name)
        text.writeInteger(UInt8(ascii: ":"))
    }

    /// The whole message.
    ///
    /// - Parameter number: the id that its answer carries; nil: none of its own.
    package func message(number: UInt64?) -> ByteBuffer {
        var message = text
        if let number { message.writeString(",\"id\":\(number)") }
        message.writeInteger(UInt8(ascii: "}"))
        return message
    }
}
