import NIOCore
import Registers
import SyncProtocol

/// A request that is known again: by the op that its sender made up, among those of the same bearer.
package struct Operation: Hashable, Sendable {
    package let op: [UInt8]
    /// ``Grant/bearer``.
    package let bearer: [UInt8]

    package init(op: [UInt8], bearer: [UInt8]) {
        self.op = op
        self.bearer = bearer
    }
}

/// The answer to a request that changed several keys, written in the transaction that it is about: what is left of the rows proves
/// nothing, as all of them may have been written over.
package struct KeptAnswer: Equatable, Sendable {
    /// For how long an answer is kept, in milliseconds.
    package static let lifetime: UInt64 = 15 * 60_000
    /// How many answers are kept; older ones go first.
    package static let maximumCount = 65_536

    package let operation: Operation
    /// When it was given, by the wall clock, in milliseconds.
    package let answeredAt: UInt64
    /// The answer as JSON.
    package let text: [UInt8]

    package init(_ operation: Operation, answeredAt: UInt64, text: [UInt8]) {
        self.operation = operation
        self.answeredAt = answeredAt
        self.text = text
    }
}

extension BatchReceipt {
    /// Its text in a ``KeptAnswer``, without the keys that its request says.
    var text: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeString("{\"first\":\(firstRevision),\"count\":\(count),\"version\":")
        buffer.writeJSONString(firstVersion.bytes)
        buffer.writeString("}")
        return Array(buffer.readableBytesView)
    }

    /// - Parameter text: what ``text`` gave; nil comes of anything else.
    init?(_ text: [UInt8], releasedKeys: [Key]) {
        guard let object = try? JSONObject(text), let first = object.integer("first"), first > 0,
            let count = object.integer("count"), 1...Int64(Int32.max) ~= count,
            let version = object.string("version").flatMap({ try? Version($0) })
        else { return nil }
        self.init(
            firstRevision: UInt64(first), firstVersion: version, count: Int(count), releasedKeys: releasedKeys)
    }
}
