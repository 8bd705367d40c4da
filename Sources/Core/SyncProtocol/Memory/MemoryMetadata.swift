import NIOCore
import Registers

/// What the server keeps of a memory beside its value: the member `starling` of its register's metadata, in front of what its writer has there.
package struct MemoryMetadata: Equatable, Sendable {
    /// How many tags there may be.
    static let maximumTags = 32

    /// In seconds since 1970; nil: nobody knows.
    package var createdAt: UInt64?
    /// How long it lives, or lives on when it is read, in seconds, as it was given.
    package var timeToLive: Double?
    package var refreshesOnRead = false
    package var tags: [[UInt8]] = []
    package var priority: [UInt8]?
    /// Whether it is found by a search.
    package var isIndexed = true

    package init() {}

    /// Reads metadata. What is there and is none of ours says nothing.
    package init(_ metadata: [UInt8]?) {
        guard let metadata, let object = (try? JSONObject(metadata))?.object("starling") else { return }
        createdAt = object.integer("created_at").flatMap { 1..<253_402_300_800 ~= $0 ? UInt64($0) : nil }
        timeToLive = object.raw("ttl").flatMap { Double(String(decoding: $0, as: UTF8.self)) }.flatMap {
            $0 > 0 ? $0 : nil
        }
        refreshesOnRead = object.bool("refresh_on_read") ?? false
        tags = (object.array("tags") ?? []).compactMap { JSONObject.string($0).map { Array($0.utf8) } }
        priority = object.string("priority").map { Array($0.utf8) }
        isIndexed = object.bool("index") ?? true
    }

    /// Metadata that asks for its time of creation.
    ///
    /// - Parameters:
    ///   - timeToLive: its JSON.
    ///   - other: what the writer has there: an object, which has no member `starling`.
    package func json(timeToLive: [UInt8]?, beside other: [UInt8]?) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeBytes(CreationTime.request)
        if let timeToLive {
            buffer.writeStaticString(#","ttl":"#)
            buffer.writeBytes(timeToLive)
        }
        if refreshesOnRead { buffer.writeStaticString(#","refresh_on_read":true"#) }
        if !tags.isEmpty {
            for (index, tag) in tags.enumerated() {
                buffer.writeStaticString(index == 0 ? #","tags":["# : ",")
                buffer.writeJSONString(tag)
            }
            buffer.writeStaticString("]")
        }
        if let priority {
            buffer.writeStaticString(#","priority":"#)
            buffer.writeJSONString(priority)
        }
        if !isIndexed { buffer.writeStaticString(#","index":false"#) }
        buffer.writeStaticString("}")
        for (name, value) in other.flatMap({ try? JSONObject($0) })?.members ?? [] {
            buffer.writeStaticString(",")
            buffer.writeJSONString(Array(name.utf8))
            buffer.writeStaticString(":")
            buffer.writeBytes(value)
        }
        buffer.writeStaticString("}")
        return Array(buffer.readableBytesView)
    }
}
