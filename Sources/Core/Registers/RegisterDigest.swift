/// A digest of registers in the order of their keys, by which two replicas find out where they differ without showing
/// each other everything: ``FNV1a`` over every field that is part of a register's identity, lengths included. It guards
/// against loss and mistakes, not against malice.
package struct RegisterDigest: Equatable, Sendable {
    private var hash = FNV1a()
    /// How many registers are in it.
    package private(set) var count: UInt64 = 0

    package init() {}

    /// Takes the next register in.
    package mutating func add(_ register: Register) {
        count += 1
        register.key.withBytes { add($0) }
        add(register.version.bytes.span)
        add(.value, of: register)
        let expiry = register.expiresAt.map { Array("\($0)".utf8) }
        add(expiry?.span)
        add(.metadata, of: register)
        add(.session, of: register)
    }

    /// 16 hex digits.
    package var text: [UInt8] {
        stride(from: 60, through: 0, by: -4).map { Hex.digit(hash.hash >> UInt64($0)) }
    }

    private mutating func add(_ field: Record.Field, of register: Register) {
        guard register.record.has(field) else { return add(nil) }
        _ = register.record.with(field) { add($0) }
    }

    private mutating func add(_ field: Span<UInt8>?) {
        // The length first, so that bytes cannot move from one field to the next unseen; what is absent has one of its own.
        var length = if let field { UInt64(field.count) } else { UInt64.max }
        for _ in 0..<8 {
            hash.add(UInt8(truncatingIfNeeded: length))
            length >>= 8
        }
        if let field { hash.add(field) }
    }
}
