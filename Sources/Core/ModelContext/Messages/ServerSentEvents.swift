/// Reads server-sent events (the HTML Standard, section 9.2.6) as their bytes come.
package struct ServerSentEvents: Sendable {
    package struct Event: Equatable, Sendable {
        package var id: String?
        package var data: [UInt8]
    }

    /// The longest event, in bytes.
    private static let maximumSize = 64 << 20

    private var line: [UInt8] = []
    private var isAfterReturn = false
    private var data: [[UInt8]] = []
    private var id: String?
    private var size = 0

    package init() {}

    /// Takes bytes.
    ///
    /// - Returns: the events that they end; nil where one is too long.
    package mutating func take(_ bytes: some Sequence<UInt8>) -> [Event]? {
        var events: [Event] = []
        for byte in bytes {
            let isSecondOfTwo = isAfterReturn && byte == 0x0A
            isAfterReturn = byte == 0x0D
            if isSecondOfTwo { continue }
            guard byte == 0x0A || byte == 0x0D else {
                line.append(byte)
                size += 1
                if size > Self.maximumSize { return nil }
                continue
            }
            if let event = endLine() { events.append(event) }
        }
        return events
    }

    private mutating func endLine() -> Event? {
        defer { line = [] }
        guard !line.isEmpty else {
            defer {
                data = []
                size = 0
            }
            return data.isEmpty ? nil : Event(id: id, data: Array(data.joined(separator: [0x0A])))
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[colon...].dropFirst()
        if value.first == 0x20 { value = value.dropFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "data": data.append(Array(value))
        case "id" where !value.contains(0): id = String(decoding: value, as: UTF8.self)
        default: break
        }
        return nil
    }
}
