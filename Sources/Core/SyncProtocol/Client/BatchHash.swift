import Registers

extension ClientMessage.Batch {
    /// A hash of all that the batch asks for, the session aside, which may be the connection's. Values and metadata count as their text.
    package var hash: UInt64 {
        var hash = FNV1a()
        hash.add(number: UInt64(requirements.count))
        for requirement in requirements {
            requirement.key.withBytes { hash.add(field: $0) }
            switch requirement.state {
            case .absent: hash.add(0)
            case .version(let version):
                hash.add(1)
                hash.add(field: version.bytes.span)
            case .fence(let fence):
                hash.add(2)
                hash.add(number: fence.rawValue)
            }
        }
        for member in members {
            member.key.withBytes { hash.add(field: $0) }
            switch member {
            case .release(let lease):
                hash.add(0)
                hash.add(number: lease.fence?.rawValue)
            case .write(let write):
                hash.add(1)
                hash.add(.value, of: write.record)
                hash.add(.metadata, of: write.record)
                hash.add(number: write.timeToLive)
                switch write.condition {
                case .none: hash.add(0)
                case .absent: hash.add(1)
                case .version(let version):
                    hash.add(2)
                    hash.add(field: version.bytes.span)
                }
            }
        }
        return hash.hash
    }
}

extension FNV1a {
    /// The length first, so that bytes cannot move from one field to the next unseen; what is absent has one of its own.
    fileprivate mutating func add(field: Span<UInt8>) {
        add(number: UInt64(field.count))
        add(field)
    }

    fileprivate mutating func add(_ field: Record.Field, of record: Record) {
        if record.with(field, { add(field: $0) }) == nil { add(number: nil) }
    }

    fileprivate mutating func add(number: UInt64?) {
        var rest = number ?? .max
        for _ in 0..<8 {
            add(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }
}
