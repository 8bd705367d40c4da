/// The version of a register: a stamp and the agent that wrote it.
///
/// Its text is 12 hex digits of milliseconds, `-`, 4 of counter, `-`, the agent: `01a0c5d3e800-0000-planner`. Texts
/// compare as byte strings just as the values do here.
package struct Version: Hashable, Comparable, Sendable {
    package let stamp: Stamp
    package let agent: Agent

    package init(stamp: Stamp, agent: Agent) {
        self.stamp = stamp
        self.agent = agent
    }

    /// The number of bytes before the agent in the text of a version.
    package static let prefixLength = 18

    /// Reads the canonical text of a version.
    ///
    /// - Throws: ``VersionError`` when `text` is anything but the text that ``bytes`` would give.
    package init(_ text: Span<UInt8>) throws(VersionError) {
        guard text.count > Self.prefixLength, text[12] == UInt8(ascii: "-"), text[17] == UInt8(ascii: "-") else {
            throw .shape
        }
        var raw: UInt64 = 0
        for index in 0..<17 where index != 12 {
            guard let digit = Hex.value(text[index]) else { throw .digit(offset: index) }
            raw = raw << 4 | UInt64(digit)
        }
        stamp = Stamp(rawValue: raw)
        do throws(TextError) {
            agent = try Agent(text.extracting(Self.prefixLength...))
        } catch {
            throw .agent(error)
        }
    }

    package init(_ text: String) throws(VersionError) {
        try self.init(Array(text.utf8).span)
    }

    /// The canonical text.
    package var bytes: [UInt8] {
        let count = Self.prefixLength + agent.bytes.count
        return Array(unsafeUninitializedCapacity: count) { text, used in
            let bytes = UnsafeMutableRawBufferPointer(text)
            used = writePrefix(to: bytes)
            UnsafeMutableRawBufferPointer(rebasing: bytes[used...]).copyBytes(from: agent.bytes)
            used = count
        }
    }

    /// Writes the canonical text up to the agent.
    ///
    /// - Returns: how many bytes that is: ``prefixLength``.
    package func writePrefix(to bytes: UnsafeMutableRawBufferPointer) -> Int {
        var rest = stamp.rawValue
        for index in (0..<Self.prefixLength).reversed() {
            if index == 12 || index == 17 {
                bytes[index] = UInt8(ascii: "-")
            } else {
                bytes[index] = Hex.digit(rest)
                rest >>= 4
            }
        }
        return Self.prefixLength
    }

    package static func < (left: Version, right: Version) -> Bool {
        if left.stamp != right.stamp { return left.stamp < right.stamp }
        return ByteOrder.compare(left.agent.bytes, right.agent.bytes) < 0
    }
}

extension Version: CustomStringConvertible {
    package var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// Why a text is not the canonical text of a version.
package enum VersionError: Error, Equatable, CustomStringConvertible {
    case shape
    case digit(offset: Int)
    case agent(TextError)

    package var description: String {
        switch self {
        case .shape: "version must be 12 hex digits, '-', 4 hex digits, '-', an agent's name"
        case .digit(let offset): "version has no lower-case hex digit at byte \(offset)"
        case .agent(let error): "version's \(error)"
        }
    }
}

/// Lower-case hexadecimal digits.
package enum Hex {
    /// The digit for the lowest four bits of `value`.
    package static func digit(_ value: UInt64) -> UInt8 {
        let nibble = UInt8(truncatingIfNeeded: value & 0xF)
        return nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10
    }

    /// The value of a digit; nil for anything else, upper case too, since one value has one text.
    package static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
