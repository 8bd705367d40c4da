/// The beginning of a text in UTF-8, without half a character.
package enum TextPrefix {
    /// - Parameter length: in bytes, at most.
    package static func of(_ text: [UInt8], _ length: Int) -> [UInt8] {
        text.count <= length ? text : Array(text[..<boundary(before: length, in: text)])
    }

    /// The greatest place up to `index` that is not in the middle of a character.
    static func boundary(before index: Int, in text: [UInt8]) -> Int {
        var index = min(index, text.count)
        while index > 0, index < text.count, text[index] & 0xC0 == 0x80 { index -= 1 }
        return index
    }
}
