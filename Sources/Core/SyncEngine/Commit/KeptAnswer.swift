import NIOCore
package import Registers
package import SyncProtocol

/// The answer to a request that changed several keys, written in the transaction that it is about: what is left of the rows proves
/// nothing, as all of them may have been written over.
package struct KeptAnswer: Equatable, Sendable {
    /// For how long an answer is kept, in milliseconds.
    package static let lifetime: UInt64 = 15 * 60_000
    /// How many answers are kept, in all and of one bearer; older ones go first. So nobody can have all others forgotten.
    package static let maximumCount = 65_536
    package static let maximumCountOfBearer = 16_384

    package let operation: OperationID
    /// When it was given, by the wall clock, in milliseconds.
    package let answeredAt: WallTime
    /// The answer as JSON.
    package let text: [UInt8]

    package init(_ operation: OperationID, answeredAt: WallTime, text: [UInt8]) {
        self.operation = operation
        self.answeredAt = answeredAt
        self.text = text
    }
}

extension BatchReceipt {
    /// Its text in a ``KeptAnswer``.
    ///
    /// - Parameter fingerprint: that of the batch.
    func text(_ fingerprint: UInt64) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeString("{\"first\":\(firstRevision),\"count\":\(count),\"version\":")
        buffer.writeJSONString(firstVersion.bytes)
        buffer.writeString(",\"batch\":\"\(String(fingerprint, radix: 16))\"}")
        return Array(buffer.readableBytesView)
    }
}

extension KeptAnswer {
    /// What a batch was given, and its fingerprint.
    ///
    /// - Returns: nil where the text is not what was kept of one: the database was altered, or is damaged.
    static func batch(_ text: [UInt8]) -> (receipt: BatchReceipt, fingerprint: UInt64)? {
        guard let object = try? JSONObject(text), let first = object.integer("first").flatMap(UInt64.init(exactly:)),
            let count = object.integer("count"), 1...Int64(ClientMessage.Batch.maximumMembers) ~= count,
            first > 0, first < UInt64(Int64.max) - UInt64(count),
            let version = object.string("version").flatMap({ try? Version($0) }),
            version.stamp.rawValue < .max - UInt64(count),
            let fingerprint = object.string("batch").flatMap({ UInt64($0, radix: 16) })
        else { return nil }
        return (BatchReceipt(firstRevision: Revision(first), firstVersion: version, count: Int(count)), fingerprint)
    }

    /// Whether a text can be that of an answer.
    package static func isValid(_ text: [UInt8]) -> Bool { batch(text) != nil || call(text) != nil }

    /// The text of what a call was answered.
    package static func text(_ answer: CallAnswer, _ fingerprint: UInt64) -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeString("{\"call\":\"\(String(fingerprint, radix: 16))\",\"kind\":\"\(answer.kind.rawValue)\"")
        if let claim = answer.handedOut {
            buffer.writeString(",\"fence\":\(claim.fence),\"key\":")
            buffer.writeJSONString(claim.key.bytes)
        }
        buffer.writeString(",\"answer\":{\"\":0")
        buffer.writeBytes(answer.members)
        buffer.writeString("}}")
        return Array(buffer.readableBytesView)
    }

    /// What a call was answered, and its fingerprint.
    ///
    /// - Returns: nil where the text is not what was kept of one.
    package static func call(_ text: [UInt8]) -> (answer: CallAnswer, fingerprint: UInt64)? {
        guard let object = try? JSONObject(text), let kind = object.string("kind").flatMap(CallAnswer.Kind.init),
            let fingerprint = object.string("call").flatMap({ UInt64($0, radix: 16) }),
            let answer = object.raw("answer"), answer.starts(with: Array("{\"\":0".utf8)),
            answer.last == UInt8(ascii: "}")
        else { return nil }
        var called = CallAnswer(kind, members: Array(answer.dropFirst(5).dropLast()))
        if let key = object.string("key").flatMap({ try? Key($0) }), let fence = object.integer("fence"), fence > 0 {
            called.handedOut = .init(key: key, fence: Fence(UInt64(fence)))
        }
        return (called, fingerprint)
    }
}
