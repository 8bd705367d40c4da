import NIOCore

/// A client-chosen id: a JSON string or number. Strings that mean the same are the same: they are echoed as they came, but that what
/// need not be escaped is not.
package struct RequestID: Hashable, Sendable {
    /// The greatest length of the JSON text, in bytes.
    package static let maximumLength = 256

    /// The JSON text, quotes and all.
    package let json: [UInt8]

    package init(json: [UInt8]) {
        self.json = json
    }

    /// - Parameter text: a JSON string or number.
    package init(asSent text: [UInt8]) {
        // Most have no escapes, and stand for themselves.
        guard text.contains(UInt8(ascii: "\\")), let bytes = Self.meaning(of: text) else {
            json = text
            return
        }
        var buffer = ByteBuffer()
        buffer.writeJSONString(bytes)
        json = Array(buffer.readableBytesView)
    }

    /// What a JSON string stands for; nil where that is no text, as half a surrogate pair is none.
    private static func meaning(of text: [UInt8]) -> [UInt8]? {
        var scanner = JSONScanner()
        guard let slice = try? scanner.scanString(text.span), scanner.position == text.count else { return nil }
        return JSONText.unescape(slice, in: text.span)
    }

    package func hash(into hasher: inout Hasher) {
        json.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension RequestID: CustomStringConvertible {
    package var description: String { String(decoding: json, as: UTF8.self) }
}
