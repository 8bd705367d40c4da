import NIOCore
import Registers
import SQLiteStore
import SyncEngine
import SyncProtocol

/// A register as a line of JSON, which merges and compares as it did before.
///
/// Line breaks between the tokens of a value are part of it: merging compares its bytes. On a line there are none, so such a
/// value is there a second time, in a string.
enum ExportLine {
    static func write(_ stored: StoredRegister, to buffer: inout ByteBuffer) {
        var register = stored.register
        register.value = register.value.map(oneLine)
        register.metadata = register.metadata.map(oneLine)
        ServerMessage.writeRegister(register, revision: stored.revision, to: &buffer)
        for (name, text, line) in [
            ("value", stored.register.value, register.value), ("metadata", stored.register.metadata, register.metadata),
        ] {
            guard let text, text != line else { continue }
            buffer.moveWriterIndex(to: buffer.writerIndex - 1)
            buffer.writeString(",\"\(name)_text\":")
            buffer.writeJSONString(text)
            buffer.writeInteger(UInt8(ascii: "}"))
        }
        buffer.writeInteger(UInt8(ascii: "\n"))
    }

    /// JSON with spaces in the place of its line breaks.
    static func oneLine(_ json: [UInt8]) -> [UInt8] {
        guard json.contains(where: isLineBreak) else { return json }
        return json.map { isLineBreak($0) ? UInt8(ascii: " ") : $0 }
    }

    private static func isLineBreak(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") }

    /// The JSON of a field, as it was before it was written on a line; nil where there is none.
    static func text(_ name: String, of object: JSONObject) throws(StoreError) -> [UInt8]? {
        guard let raw = object.raw("\(name)_text") else { return object.raw(name) }
        guard let text = JSONObject.string(raw).map({ Array($0.utf8) }) else {
            throw StoreError("its \"\(name)_text\" is no string")
        }
        var scanner = JSONScanner()
        scanner.skipWhitespace(text.span)
        guard (try? scanner.skipValue(text.span)) != nil else { throw StoreError("its \"\(name)_text\" is no JSON") }
        scanner.skipWhitespace(text.span)
        guard scanner.position == text.count else { throw StoreError("its \"\(name)_text\" is no JSON") }
        return text
    }
}

/// Reads what ``Export`` of any version wrote: an object a line, and of earlier versions objects over several lines, where a
/// value has line breaks.
struct ExportReader {
    /// The number of the line that the last object begins on.
    private(set) var line = 0
    private var lines = LineReader()
    private var lineCount = 0

    /// How many lines an object may go over: beyond, what begins it is broken, and not just unfinished.
    private static let maximumLines = 100_000
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// The next object; nil at the end. Blank lines, and the mark that some editors begin a file with, are passed over.
    mutating func next() throws -> JSONObject? {
        var text: [UInt8] = []
        var nesting = Nesting()
        while var next = lines.next() {
            lineCount += 1
            if lineCount == 1, next.starts(with: Self.byteOrderMark) { next = next.dropFirst(3) }
            if text.isEmpty {
                if next.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }) { continue }
                line = lineCount
            }
            text += next
            nesting.add(next)
            if !nesting.isOpen || lineCount - line >= Self.maximumLines { return try JSONObject(text) }
        }
        return text.isEmpty ? nil : try JSONObject(text)
    }

    /// Whether a text of JSON has come to an end: seen by its brackets, since to parse it anew with each line would cost the square
    /// of their number.
    private struct Nesting {
        private var depth = 0
        private var isInString = false
        private var isEscaped = false

        var isOpen: Bool { depth > 0 || isInString }

        mutating func add(_ bytes: ArraySlice<UInt8>) {
            for byte in bytes {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\"") {
                    isInString.toggle()
                } else if isInString {
                    isEscaped = byte == UInt8(ascii: "\\")
                } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                    depth += 1
                } else if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") {
                    depth -= 1
                }
            }
        }
    }
}
