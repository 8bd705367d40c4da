/// Makes strings of JSON well-formed: half of a pair of surrogates is taken here as any text is, and not by other readers, who would read nothing of
/// the message.
enum WellFormedText {
    private static let replacement = Array("\\ufffd".utf8)

    static func of(_ json: [UInt8]) -> [UInt8] {
        var result: [UInt8]?
        var copied = 0
        var place = 0
        while let slash = json[place...].firstIndex(of: UInt8(ascii: "\\")) {
            place = slash + 2
            guard let unit = unit(json, at: slash), 0xD800...0xDFFF ~= unit else { continue }
            if unit < 0xDC00, let second = self.unit(json, at: slash + 6), 0xDC00...0xDFFF ~= second {
                place = slash + 12
                continue
            }
            place = slash + 6
            result = (result ?? []) + json[copied..<slash] + replacement
            copied = place
        }
        guard let result else { return json }
        return result + json[copied...]
    }

    /// The UTF-16 code unit that an escape stands for; nil: there is none.
    private static func unit(_ json: [UInt8], at place: Int) -> UInt16? {
        guard place + 6 <= json.count, json[place] == UInt8(ascii: "\\"), json[place + 1] == UInt8(ascii: "u") else {
            return nil
        }
        return UInt16(String(decoding: json[place + 2..<place + 6], as: UTF8.self), radix: 16)
    }
}
