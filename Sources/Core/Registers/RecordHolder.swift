/// What has its bytes in a record: a register, or a write on its way to be one.
package protocol RecordHolder {
    var record: Record { get set }
}

extension RecordHolder {
    /// A copy of the value's JSON, byte for byte as it was sent; nil where there is none: a delete, or a tombstone. Setting it, or what is
    /// below, copies all of the record.
    package var value: [UInt8]? {
        get { record.bytes(of: .value) }
        set { record = record.replacing(.value, by: newValue) }
    }

    /// A copy of the metadata's JSON as it was sent.
    package var metadata: [UInt8]? {
        get { record.bytes(of: .metadata) }
        set { record = record.replacing(.metadata, by: newValue) }
    }

    /// A copy of the session that the write belongs to.
    package var session: [UInt8]? {
        get { record.bytes(of: .session) }
        set { record = record.replacing(.session, by: newValue) }
    }

    /// A copy of the op, by which a write that is sent again is known: it is not applied twice in a row. No part of a register's identity.
    package var op: [UInt8]? {
        get { record.bytes(of: .op) }
        set { record = record.replacing(.op, by: newValue) }
    }
}
