/// A name that stands as one segment of a key: a swarm's, a task's, an agent's. 1–128 bytes of UTF-8 without control characters.
///
/// In a key, `%` is `%25` and `:` is `%3A`: else agent `a:b` would have keys of agent `a`'s.
package struct Segment: Hashable, Sendable {
    package static let maximumLength = 128

    /// As it was given.
    package let bytes: [UInt8]

    package init(_ bytes: Span<UInt8>) throws(TextError) {
        try TextError.check(bytes, what: .name, maximumLength: Self.maximumLength)
        self.bytes = bytes.withUnsafeBufferPointer { Array($0) }
    }

    package init(_ text: String) throws(TextError) { try self.init(Array(text.utf8).span) }

    /// The name of an agent, which is shorter than a segment may be.
    package init(_ agent: Agent) { bytes = agent.bytes }

    /// Reads a segment as it stands in a key.
    ///
    /// - Returns: nil where it is not what ``escaped`` gives of any name: a key that somebody made up has one.
    package init?(escaped text: some Collection<UInt8>) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var rest = text[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let character = Self.escapes.first(where: { rest.starts(with: $0.text.dropFirst()) })?.byte else {
                return nil
            }
            bytes.append(character)
            rest.removeFirst(2)
        }
        guard let segment = try? Segment(bytes.span) else { return nil }
        self = segment
    }

    private static let escapes: [(byte: UInt8, text: [UInt8])] = [
        (UInt8(ascii: "%"), Array("%25".utf8)), (UInt8(ascii: ":"), Array("%3A".utf8)),
    ]

    /// As it stands in a key.
    package var escaped: [UInt8] {
        guard bytes.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: ":") }) else { return bytes }
        return bytes.flatMap { byte in Self.escapes.first { $0.byte == byte }?.text ?? [byte] }
    }

    package func hash(into hasher: inout Hasher) { bytes.withUnsafeBytes { hasher.combine(bytes: $0) } }
}

extension Segment: Comparable {
    package static func < (left: Segment, right: Segment) -> Bool { ByteOrder.compare(left.bytes, right.bytes) < 0 }
}

extension Segment: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}
