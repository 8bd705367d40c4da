/// A client-chosen id: a JSON string or number, echoed as it came.
package struct RequestID: Hashable, Sendable {
    /// The greatest length of the JSON text, in bytes.
    package static let maximumLength = 256

    /// The JSON text, quotes and all.
    package let json: [UInt8]

    package init(json: [UInt8]) {
        self.json = json
    }

    package func hash(into hasher: inout Hasher) {
        json.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension RequestID: CustomStringConvertible {
    package var description: String { String(decoding: json, as: UTF8.self) }
}
