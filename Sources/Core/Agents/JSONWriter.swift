import NIOCore
package import Registers
package import SyncProtocol

/// Writes a JSON object, member by member.
package struct JSONWriter {
    private var buffer = ByteBuffer()
    private var isFirst: Bool

    /// - Parameter continues: whether the members go behind others of an object that somebody else has begun: each has a comma before it.
    package init(continues: Bool = false) {
        isFirst = !continues
        if !continues { buffer.writeInteger(UInt8(ascii: "{")) }
    }

    private mutating func begin(_ name: StaticString) {
        if isFirst { isFirst = false } else { buffer.writeInteger(UInt8(ascii: ",")) }
        buffer.writeInteger(UInt8(ascii: "\""))
        buffer.writeStaticString(name)
        buffer.writeStaticString("\":")
    }

    package mutating func add(_ name: StaticString, raw: [UInt8]) {
        begin(name)
        buffer.writeBytes(raw)
    }

    /// Adds a member whose name is known only when it is written.
    package mutating func add(named name: String, raw: [UInt8]) {
        if isFirst { isFirst = false } else { buffer.writeInteger(UInt8(ascii: ",")) }
        buffer.writeJSONString(name)
        buffer.writeInteger(UInt8(ascii: ":"))
        buffer.writeBytes(raw)
    }

    /// Adds some members of another object, as they are there.
    package mutating func add(_ names: [String], of object: JSONObject) {
        for name in names {
            if let value = object.raw(name) { add(named: name, raw: value) }
        }
    }

    /// Adds an array of what is JSON already.
    package mutating func add(_ name: StaticString, elements: [[UInt8]]) {
        begin(name)
        buffer.writeInteger(UInt8(ascii: "["))
        for (index, element) in elements.enumerated() {
            if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
            buffer.writeBytes(element)
        }
        buffer.writeInteger(UInt8(ascii: "]"))
    }

    package mutating func add(_ name: StaticString, _ text: [UInt8]?) {
        begin(name)
        if let text { buffer.writeJSONString(text) } else { buffer.writeStaticString("null") }
    }

    package mutating func add(_ name: StaticString, _ text: String) {
        begin(name)
        buffer.writeJSONString(text)
    }

    package mutating func add(_ name: StaticString, _ segment: Segment?) { add(name, segment?.bytes) }

    package mutating func add(_ name: StaticString, number: some BinaryInteger) {
        begin(name)
        buffer.writeString("\(number)")
    }

    package mutating func add(_ name: StaticString, optional number: UInt64?) {
        begin(name)
        buffer.writeString(number.map { "\($0)" } ?? "null")
    }

    package mutating func add(_ name: StaticString, _ value: Bool) {
        begin(name)
        buffer.writeStaticString(value ? "true" : "false")
    }

    /// Milliseconds, as seconds.
    package mutating func add(_ name: StaticString, seconds milliseconds: UInt64) {
        begin(name)
        buffer.writeString("\(milliseconds / 1_000)")
        var rest = milliseconds % 1_000
        guard rest > 0 else { return }
        var digits: [UInt8] = []
        for place: UInt64 in [100, 10, 1] where rest > 0 {
            digits.append(UInt8(ascii: "0") + UInt8(rest / place))
            rest %= place
        }
        buffer.writeInteger(UInt8(ascii: "."))
        buffer.writeBytes(digits)
    }

    package mutating func add(_ name: StaticString, _ texts: [[UInt8]]) {
        begin(name)
        for (index, text) in texts.enumerated() {
            buffer.writeInteger(UInt8(ascii: index == 0 ? "[" : ","))
            buffer.writeJSONString(text)
        }
        buffer.writeStaticString(texts.isEmpty ? "[]" : "]")
    }

    /// The text of the object, or of the members.
    package consuming func finish() -> [UInt8] {
        var buffer = buffer
        if buffer.readableBytesView.first == UInt8(ascii: "{") { buffer.writeInteger(UInt8(ascii: "}")) }
        return Array(buffer.readableBytesView)
    }
}
