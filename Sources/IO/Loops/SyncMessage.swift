package import NIOCore
import Registers
package import SyncProtocol

/// A message for a connection within the process: as it would be on the wire, put together member by member. What is wrong with it is
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
    func message(number: UInt64?) -> ByteBuffer {
        var message = text
        if let number { message.writeString(",\"id\":\(number)") }
        message.writeInteger(UInt8(ascii: "}"))
        return message
    }
}

extension ServerMessage {
    /// Whom a message of ours is for.
    enum Addressee: Equatable {
        /// Who asked under this number.
        case asker(UInt64)
        /// The subscriber, or whoever reads what comes.
        case everybody
        /// Nobody: it greets a connection that has just been made.
        case nobody
    }

    /// Finds out whom a message is for, by its first two members: the writers put `type` first, and then the `id` where there is one.
    static func addressee(of payload: ByteBuffer) -> Addressee {
        let text = payload.readableBytesUInt8Span
        var scanner = JSONScanner()
        guard scanner.take(UInt8(ascii: "{"), text), (try? scanner.scanName(text)) != nil else { return .everybody }
        let typeStart = scanner.position
        guard (try? scanner.skipValue(text)) != nil else { return .everybody }
        let isWelcome = text.extracting(typeStart..<scanner.position).isEqual(to: "\"welcome\"")
        let start = scanner.position + 1
        guard scanner.take(UInt8(ascii: ","), text), (try? scanner.scanName(text)) != nil,
            text.extracting(start..<scanner.position).isEqual(to: "\"id\":")
        else { return isWelcome ? .nobody : .everybody }
        var number: UInt64 = 0
        var index = scanner.position
        while index < text.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[index] {
            number = number &* 10 &+ UInt64(text[index] - UInt8(ascii: "0"))
            index += 1
        }
        return index > scanner.position ? .asker(number) : .everybody
    }
}

extension Span<UInt8> {
    fileprivate func isEqual(to text: StaticString) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        for index in indices where self[index] != text.utf8Start[index] { return false }
        return true
    }
}
