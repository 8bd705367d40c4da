package import NIOCore
import Registers

/// What a call came to.
package struct CallAnswer: Equatable, Sendable {
    /// The `type` of the answer.
    package enum Kind: String, Sendable {
        case swarm, tasks, task, none, sent, acknowledged
    }

    package var kind: Kind
    /// The members of the answer behind its `id`, as JSON: each with a comma before it.
    package var members: [UInt8]
    /// The claims that were given up by it.
    package var released: [ClientMessage.FencedKey] = []
    /// The claim that it hands out, which goes back if the answer reaches nobody.
    package var handedOut: ClientMessage.FencedKey?

    package init(_ kind: Kind, members: [UInt8] = []) {
        self.kind = kind
        self.members = members
    }
}

extension ServerMessage {
    /// The answer to a call: `{"type":"task","id":…,…}`.
    package static func writeCallAnswer(_ answer: CallAnswer, id: RequestID?, to buffer: inout ByteBuffer) {
        buffer.writeString("{\"type\":\"\(answer.kind.rawValue)\"")
        if let id {
            buffer.writeStaticString(",\"id\":")
            buffer.writeBytes(id.json)
        }
        buffer.writeBytes(answer.members)
        buffer.writeInteger(UInt8(ascii: "}"))
    }
}
