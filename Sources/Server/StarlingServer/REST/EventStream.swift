import Loops
import NIOCore
import SyncProtocol

/// The subscriptions of a stream of events: what is sent for them, and the events that come of it. The `id` of each is the number of its
/// pattern, from "0".
struct EventStream {
    private let patterns: [String]
    /// Up to where each of them has been told of; nil: nowhere yet.
    private var cursors: [String?]
    /// Which are to take the place of what the client holds.
    private var replacing: Set<Int> = []
    private var unanswered: Set<Int>
    /// A request's head has 16 KiB.
    private static let longestID = 8_000

    /// The `id` of an event that was told last.
    private var lastID = ""

    /// - Parameter since: the `id` of the last event that the client has got. A cursor of another pattern fits none: what is subscribed
    ///   to with it starts anew.
    init(patterns: [String], since: String?) {
        self.patterns = patterns
        unanswered = Set(patterns.indices)
        let given = (since ?? "").split(separator: ",", omittingEmptySubsequences: false).map { text in
            Percent.decode(text).flatMap { Cursor(Array($0.utf8)) == nil ? nil : $0 }
        }
        cursors = patterns.indices.map { since == nil ? nil : given[min($0, given.count - 1)] }
        // What is no cursor leads nowhere either.
        if since != nil { replacing = Set(patterns.indices.filter { cursors[$0] == nil }) }
    }

    /// Whether all subscriptions were answered.
    var hasBegun: Bool { unanswered.isEmpty }

    /// What is to be sent at first.
    var messages: [SyncMessage] { patterns.indices.map { subscribe($0, since: cursors[$0]) } }

    private func subscribe(_ index: Int, since: String?) -> SyncMessage {
        var request = SyncMessage("subscribe")
        request.add("id", "\(index)")
        request.add("pattern", patterns[index])
        request.add("since", since)
        request.add("cursors", true)
        request.add("conflated", true)
        return request
    }

    /// What a message has against a subscription for good.
    static func refusal(_ message: ByteBuffer) -> Problem? {
        guard let object = try? JSONObject(Array(message.readableBytesView)),
            object.string("code") != ErrorCode.resyncRequired.rawValue
        else { return nil }
        return Problem(object)
    }

    /// Makes an event of a message.
    ///
    /// - Returns: the event, and what is to be sent for it.
    mutating func take(_ message: ByteBuffer) -> (event: ByteBuffer, request: SyncMessage?) {
        guard let object = try? JSONObject(Array(message.readableBytesView)), let type = object.string("type") else {
            return (ByteBuffer(), nil)
        }
        let index = object.string("id").flatMap { Int($0) }.flatMap { patterns.indices.contains($0) ? $0 : nil }
        var data = message
        switch (type, index) {
        case ("synced", let index?), ("cursor", let index?): cursors[index] = object.string("cursor")
        case ("subscribed", let index?):
            unanswered.remove(index)
            if replacing.remove(index) != nil, object.bool("replace") != true {
                data = ByteBuffer(bytes: Array(message.readableBytesView.dropLast()) + Array(",\"replace\":true}".utf8))
            }
        case ("error", let index?) where object.string("code") == ErrorCode.resyncRequired.rawValue:
            // The cursor leads nowhere any more: what comes takes the place of what the client holds, on the same stream.
            replacing.insert(index)
            cursors[index] = nil
            return (ByteBuffer(), subscribe(index, since: nil))
        default: break
        }
        return (Self.event(type, data: data, id: newID()), nil)
    }

    /// The cursors of all subscriptions, where one of them has changed and all have one.
    private mutating func newID() -> String? {
        let known = cursors.compactMap { $0 }
        guard known.count == cursors.count else { return nil }
        let id = known.map(Percent.encodeForHeader).joined(separator: ",")
        // In the middle of a snapshot a cursor names a key. One that could not be sent back is of no use.
        guard id != lastID, id.utf8.count <= Self.longestID else { return nil }
        lastID = id
        return id
    }

    /// One event. Line breaks between the tokens of a value are those of the event's data.
    private static func event(_ name: String, data: ByteBuffer, id: String?) -> ByteBuffer {
        var event = ByteBuffer()
        event.writeString("event: \(name)\n")
        if let id { event.writeString("id: \(id)\n") }
        event.writeString("data: ")
        var isAfterReturn = false
        for byte in data.readableBytesView {
            switch byte {
            case UInt8(ascii: "\n") where isAfterReturn: break
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"): event.writeString("\ndata: ")
            default: event.writeInteger(byte)
            }
            isAfterReturn = byte == UInt8(ascii: "\r")
        }
        event.writeString("\n\n")
        return event
    }
}
