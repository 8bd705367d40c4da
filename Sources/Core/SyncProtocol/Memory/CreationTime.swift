package import Registers

/// When something was first stored under a key, kept in the metadata of its register from write to write: `{"starling":{"created_at":…`, in seconds
/// since 1970.
///
/// A write whose metadata begins with that member, and has 0 there, asks the commit to fill it in: with what the register that it replaces has,
/// else with its own time. Any write may, so that what is queued by a client that is offline keeps it too. Of two registers of one version the one
/// whose metadata is greater stays: that is the one with the time, since it is written with the greater digits.
package enum CreationTime {
    private static let start = Array(#"{"starling":{"created_at":"#.utf8)
    /// What metadata begins with that asks for it; more members, and two braces, come behind.
    package static let request = start + [UInt8(ascii: "0")]

    /// Whether a write asks for it.
    @inline(__always)
    package static func isAsked(by record: Record) -> Bool {
        guard let count = record.count(of: .metadata), count > request.count else { return false }
        return record.with(.metadata) { metadata in
            let next = metadata[request.count]
            return (next == UInt8(ascii: ",") || next == UInt8(ascii: "}"))
                && ByteOrder.areEqual(metadata.extracting(0..<request.count), request.span)
        } ?? false
    }

    /// The record with its time of creation.
    ///
    /// - Parameters:
    ///   - current: what it replaces; nil: nothing that is there.
    ///   - now: the time of the write.
    package static func filled(_ record: Record, replacing current: Record?, at now: WallTime) -> Record {
        guard isAsked(by: record), let metadata = record.bytes(of: .metadata) else { return record }
        let before = current.flatMap { $0.bytes(of: .metadata) }.flatMap { MemoryMetadata($0).createdAt }
        let created = before ?? now.milliseconds / 1_000
        return record.replacing(
            .metadata, by: start + Array("\(created)".utf8) + metadata.dropFirst(request.count))
    }
}
