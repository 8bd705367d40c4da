import NIOCore
import SyncProtocol

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
