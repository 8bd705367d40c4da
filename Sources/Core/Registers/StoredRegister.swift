/// What binds a register to somebody, beside its value. Bookkeeping of one database, like the revision.
package enum Binding: Int64, Sendable {
    /// A claim that ends when its time is over.
    case claim = 1
    /// A claim that also ends with its connection.
    case claimUntilDisconnect = 2
    /// A plain register that ends with its connection; anyone may write over it.
    case presence = 3

    /// Whether nobody but its holder may change the register.
    package var isExclusive: Bool { self != .presence }
    package var endsWithConnection: Bool { self != .claim }
}

/// A register with the revision of its last change.
package struct StoredRegister: Equatable, Sendable {
    package var register: Register
    package var revision: Revision
    package var row: RowID
    /// The greatest fencing token ever given for the key; 0: none. It outlives its lease.
    package var fence: Fence
    package var binding: Binding?

    /// - Parameters:
    ///   - row: nil: it is the first of its key.
    ///   - op: nil: the one that the register's record has, if any.
    package init(
        _ register: Register, revision: Revision, row: RowID? = nil, op: [UInt8]? = nil, fence: Fence = 0,
        binding: Binding? = nil
    ) {
        self.register = register
        if let op { self.register.op = op }
        self.revision = revision
        self.row = row ?? RowID(first: revision)
        self.fence = fence
        self.binding = binding
    }

    /// A copy of the op of the write that made it, by which a resend is known. Bookkeeping of one database: it is not part of the
    /// register's identity, and does not travel.
    package var op: [UInt8]? {
        get { register.op }
        set { register.op = newValue }
    }

    /// Whether it was made by the write with this op.
    package func isOf(_ op: [UInt8]) -> Bool { register.record.with(.op) { ByteOrder.areEqual($0, op.span) } == true }

    package static func == (left: StoredRegister, right: StoredRegister) -> Bool {
        left.register == right.register && left.revision == right.revision && left.row == right.row
            && left.fence == right.fence && left.binding == right.binding
            && left.register.record.hasSame(.op, as: right.register.record)
    }

    /// The same with an empty value, which no JSON is: for what is told of a register without its value.
    package var withoutValue: StoredRegister {
        var copy = self
        if !register.isTombstone { copy.register.value = [] }
        return copy
    }

    /// Whether a claim on the key is in force at `now`.
    package func isHeld(at now: WallTime) -> Bool {
        binding?.isExclusive == true && register.isVisible(at: now)
    }
}
