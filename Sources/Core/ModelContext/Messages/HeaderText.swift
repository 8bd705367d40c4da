/// Text in a header: as it is where that is visible ASCII, else in Base64 between marks (2026-07-28, *Value Encoding*).
package enum HeaderText {
    private static let start = "=?base64?"
    private static let end = "?="
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    package static func encode(_ text: String) -> String {
        let isPlain =
            text.utf8.allSatisfy { 0x20...0x7E ~= $0 } && text.utf8.first != 0x20 && text.utf8.last != 0x20
            && !(text.hasPrefix(start) && text.hasSuffix(end))
        if isPlain, !text.isEmpty { return text }
        var encoded: [UInt8] = []
        let bytes = Array(text.utf8)
        for index in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[index..<min(index + 3, bytes.count)]
            let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << (8 * (3 - UInt32(group.count)))
            for place in 0..<4 {
                let digit = digits[Int(bits >> (18 - 6 * UInt32(place)) & 63)]
                encoded.append(place <= group.count ? digit : UInt8(ascii: "="))
            }
        }
        return start + String(decoding: encoded, as: UTF8.self) + end
    }

    /// - Returns: nil where it stands for no text: then it is equal to none.
    package static func decode(_ header: String) -> String? {
        guard header.hasPrefix(start), header.hasSuffix(end), header.utf8.count >= start.utf8.count + end.utf8.count
        else { return header }
        let payload = Array(header.utf8.dropFirst(start.utf8.count).dropLast(end.utf8.count))
        guard payload.count % 4 == 0 else { return nil }
        let content = payload.prefix { $0 != UInt8(ascii: "=") }
        guard payload.count - content.count <= 2, payload[content.count...].allSatisfy({ $0 == UInt8(ascii: "=") })
        else { return nil }
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for character in content {
            guard let digit = digits.firstIndex(of: character) else { return nil }
            bits = bits << 6 | UInt32(digit)
            count += 6
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
                bits &= (1 << count) - 1
            }
        }
        // Of two texts for the same bytes only one counts.
        guard bits == 0 else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
