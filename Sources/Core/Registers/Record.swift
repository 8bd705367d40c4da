/// The bytes of a write in one allocation: its key, with the hash of that, and what there is of value, metadata, session and op. It is made
/// where a message or a row is read, and is what all that happens to the write holds on to; nothing of it ever changes.
///
/// Its memory is handled by hand in this file, and in no other.
package struct Record: @unchecked Sendable {
    /// What a record may have beside its key.
    @usableFromInline
    package enum Field: Int, CaseIterable, Sendable {
        case value, metadata, session, op
    }

    @usableFromInline
    struct Header {
        /// Of the key.
        @usableFromInline let hash: Int
        /// Where the key ends, and behind it each field; the same as the one before where there is none, or an empty one.
        @usableFromInline let ends: InlineArray<5, Int32>
        /// A bit for each field that is there.
        @usableFromInline let present: UInt8

        @usableFromInline
        init(hash: Int, ends: InlineArray<5, Int32>, present: UInt8) {
            self.hash = hash
            self.ends = ends
            self.present = present
        }
    }

    @usableFromInline
    final class Storage: ManagedBuffer<Header, UInt8> {}

    @usableFromInline let storage: Storage

    /// Read by address: that of a class's property would be checked for other accesses at run time, and nothing of it is ever written.
    @inlinable
    @inline(__always)
    var header: Header { storage.withUnsafeMutablePointerToHeader { $0.pointee } }

    // MARK: Making

    /// Copies the bytes of a write. One allocation.
    package init(
        key: Span<UInt8>, value: Span<UInt8>? = nil, metadata: Span<UInt8>? = nil, session: Span<UInt8>? = nil,
        op: Span<UInt8>? = nil
    ) {
        var hasher = Hasher()
        key.withUnsafeBytes { hasher.combine(bytes: $0) }
        self.init(
            hash: hasher.finalize(), key: key, value: value, metadata: metadata, session: session, op: op)
    }

    private init(
        hash: Int, key: Span<UInt8>, value: Span<UInt8>?, metadata: Span<UInt8>?, session: Span<UInt8>?,
        op: Span<UInt8>?
    ) {
        var ends = InlineArray<5, Int32>(repeating: 0)
        var present: UInt8 = 0
        var end = key.count
        ends[0] = Int32(end)
        func place(_ field: Field, _ count: Int?) {
            if let count {
                present |= 1 << UInt8(field.rawValue)
                end += count
            }
            ends[field.rawValue + 1] = Int32(end)
        }
        place(.value, value?.count)
        place(.metadata, metadata?.count)
        place(.session, session?.count)
        place(.op, op?.count)
        let header = Header(hash: hash, ends: ends, present: present)
        let made = Storage.create(minimumCapacity: end) { _ in header }
        storage = unsafeDowncast(made, to: Storage.self)
        storage.withUnsafeMutablePointerToElements { start in
            let target = UnsafeMutableRawPointer(start)
            Self.copy(key, to: target)
            if let value { Self.copy(value, to: target + Int(ends[0])) }
            if let metadata { Self.copy(metadata, to: target + Int(ends[1])) }
            if let session { Self.copy(session, to: target + Int(ends[2])) }
            if let op { Self.copy(op, to: target + Int(ends[3])) }
        }
    }

    private static func copy(_ bytes: Span<UInt8>, to target: UnsafeMutableRawPointer) {
        bytes.withUnsafeBytes { if let start = $0.baseAddress { target.copyMemory(from: start, byteCount: $0.count) } }
    }

    /// The same key with nothing else, which keeps nothing else in memory.
    package var bare: Record {
        isBare ? self : withKey { Record(hash: hash, key: $0, value: nil, metadata: nil, session: nil, op: nil) }
    }

    /// The same key with other fields.
    package func with(
        value: Span<UInt8>?, metadata: Span<UInt8>?, session: Span<UInt8>?, op: Span<UInt8>?
    ) -> Record {
        if value == nil, metadata == nil, session == nil, op == nil { return bare }
        return withKey {
            Record(hash: hash, key: $0, value: value, metadata: metadata, session: session, op: op)
        }
    }

    /// The same, but for one field.
    package func replacing(_ field: Field, by bytes: [UInt8]?) -> Record {
        guard let bytes else { return replacing(field, by: nil as UnsafeBufferPointer<UInt8>?) }
        return bytes.withUnsafeBufferPointer { replacing(field, by: $0) }
    }

    private func replacing(_ replaced: Field, by new: UnsafeBufferPointer<UInt8>?) -> Record {
        let ends = header.ends
        return storage.withUnsafeMutablePointerToElements { start in
            func part(_ field: Field) -> UnsafeBufferPointer<UInt8>? {
                if field == replaced { return new }
                guard has(field) else { return nil }
                let (from, to) = (Int(ends[field.rawValue]), Int(ends[field.rawValue + 1]))
                return UnsafeBufferPointer(start: start + from, count: to - from)
            }
            let (value, metadata, session, op) = (part(.value), part(.metadata), part(.session), part(.op))
            return with(value: value?.span, metadata: metadata?.span, session: session?.span, op: op?.span)
        }
    }

    // MARK: Reading

    /// Of the key; the same for all records of a key in this process, and in no other.
    @inlinable
    package var hash: Int { header.hash }

    /// Whether there is nothing but a key.
    @inlinable
    package var isBare: Bool { header.present == 0 }

    @inlinable
    package var keyCount: Int { Int(header.ends[0]) }

    /// Whether a field is there, be it empty.
    @inlinable
    package func has(_ field: Field) -> Bool { header.present >> UInt8(field.rawValue) & 1 == 1 }

    /// How many bytes a field has; nil: it is not there.
    @inlinable
    package func count(of field: Field) -> Int? {
        guard has(field) else { return nil }
        return Int(header.ends[field.rawValue + 1] - header.ends[field.rawValue])
    }

    /// How many bytes there are of everything.
    package var count: Int { Int(header.ends[4]) }

    /// The key's bytes, without a copy.
    @inlinable
    @inline(__always)
    package func withKey<Result, Failure>(
        _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try storage.withUnsafeMutablePointers { (header, start) throws(Failure) -> Result in
            try body(UnsafeBufferPointer(start: start, count: Int(header.pointee.ends[0])).span)
        }
    }

    /// A field's bytes, without a copy.
    ///
    /// - Returns: nil where it is not there.
    @inlinable
    @inline(__always)
    package func with<Result, Failure>(
        _ field: Field, _ body: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard has(field) else { return nil }
        return try storage.withUnsafeMutablePointers { (header, start) throws(Failure) -> Result in
            let from = Int(header.pointee.ends[field.rawValue])
            let to = Int(header.pointee.ends[field.rawValue + 1])
            return try body(UnsafeBufferPointer(start: start + from, count: to - from).span)
        }
    }

    /// A copy of the key's bytes.
    package var keyBytes: [UInt8] { withKey { $0.withUnsafeBufferPointer { Array($0) } } }

    /// A copy of a field's bytes; nil where it is not there.
    package func bytes(of field: Field) -> [UInt8]? { with(field) { $0.withUnsafeBufferPointer { Array($0) } } }

    // MARK: Comparing

    @inlinable
    package func hasSameKey(as other: Record) -> Bool {
        if storage === other.storage { return true }
        guard hash == other.hash, keyCount == other.keyCount else { return false }
        return withKey { left in other.withKey { ByteOrder.areEqual(left, $0) } }
    }

    /// Whether both have a field with the same bytes, or neither has it.
    package func hasSame(_ field: Field, as other: Record) -> Bool { compare(field, with: other) == 0 }

    /// Orders two records by a field: what is absent comes first.
    package func compare(_ field: Field, with other: Record) -> Int {
        if storage === other.storage { return 0 }
        let order = with(field) { left in other.with(field) { ByteOrder.compare(left, $0) } ?? 1 }
        return order ?? (other.has(field) ? -1 : 0)
    }
}
