import SyncProtocol

/// Percent-encoding (RFC 3986, section 2.1).
enum Percent {
    /// - Parameter plusIsSpace: as browsers encode a space in a query.
    /// - Returns: nil where it stands for no text.
    static func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%") {
                guard let high = rest.popFirst().flatMap(JSONText.hexValue),
                    let low = rest.popFirst().flatMap(JSONText.hexValue)
                else {
                    return nil
                }
                bytes.append(UInt8(high << 4 | low))
            } else {
                bytes.append(byte == UInt8(ascii: "+") && plusIsSpace ? UInt8(ascii: " ") : byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Encodes all bytes but those that may stand as they are.
    static func encode(_ text: String, unless isPlain: (UInt8) -> Bool) -> String {
        text.utf8.reduce(into: "") { encoded, byte in
            if isPlain(byte) {
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                encoded += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }

    /// What can stand in a header as it is, and have a comma behind it.
    static func encodeForHeader(_ text: String) -> String {
        encode(text) { byte in (0x21...0x7E).contains(byte) && !"%,".utf8.contains(byte) }
    }
}
