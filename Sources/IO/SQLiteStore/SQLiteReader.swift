import GRDB
import NIOCore
import Registers
package import SyncEngine
import SyncProtocol

/// Reads pages and lookups, each in one short transaction. Any thread may use it; calls block.
package struct SQLiteReader: Sendable {
    /// How much a page may hold, and how much a list may answer with, in bytes: what is begun is finished.
    private static let maximumBytes = 256 * 1024
    /// How many rows a page may look at, matching or not, so that no transaction lasts.
    private static let maximumRows = 8_192

    private let database: SQLiteDatabase
    private let framing: Framing
    /// Told when something could not be read.
    private let noteFailure: @Sendable (StoreError) -> Void

    package init(
        database: SQLiteDatabase, framing: @escaping Framing,
        noteFailure: @escaping @Sendable (StoreError) -> Void = { _ in }
    ) {
        self.database = database
        self.framing = framing
        self.noteFailure = noteFailure
    }

    // MARK: Pages

    /// Reads a page for a subscription that is catching up.
    ///
    /// - Parameter now: the wall clock in milliseconds, by which registers have expired.
    package func page(_ request: PageRequest, now: UInt64) -> PageResult {
        do {
            return try database.pool.read { connection in
                var page = PageDraft(request: request, framing: framing)
                page.horizon = try Meta.horizon(connection)
                switch request.position {
                case .keys(let after, let base):
                    try readKeys(into: &page, after: after, base: base, connection, now: now)
                case .changes(let after):
                    try readChanges(into: &page, after: after, connection, now: now)
                }
                return page.result
            }
        } catch {
            let failure = StoreError(reading: error)
            noteFailure(failure)
            return PageResult(request: request, failure: failure)
        }
    }

    private func readKeys(
        into page: inout PageDraft, after: Key?, base: UInt64, _ connection: Database, now: UInt64
    ) throws {
        try forEachRow(of: page.request.pattern, after: after, connection) { row in
            if page.isFull {
                page.next = page.lastKey.map { .keys(after: $0, base: base) }
                return false
            }
            page.looked += 1
            page.lastKey = row.register.key
            let isPart = row.register.isTombstone ? row.revision > base : !row.register.isExpired(at: now)
            if isPart, page.request.pattern.matches(row.register.key) { page.append(row) }
            return true
        }
    }

    private func readChanges(into page: inout PageDraft, after: UInt64, _ connection: Database, now: UInt64) throws {
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE revision > ?1 ORDER BY revision")
        let rows = RowReader(statement)
        defer { rows.reset() }
        rows.bind(Int64(after), at: 1)
        var position = after
        while let row = try rows.next() {
            if page.isFull {
                page.next = .changes(after: position)
                return
            }
            page.looked += 1
            position = row.revision
            guard page.request.pattern.matches(row.register.key) else { continue }
            if !row.register.isTombstone, row.register.isExpired(at: now) {
                // Whoever catches up may hold an older value: it is told that the key has expired since.
                page.append(StoredRegister(row.register.expired, revision: row.revision))
            } else {
                page.append(row)
            }
        }
    }

    // MARK: Lookups

    /// Answers gets and lists, in their order, until the answers are large enough; at least one.
    package func look(up request: LookupRequest, now: UInt64) -> LookupResult {
        var frames = ByteBuffer()
        do {
            return try database.pool.read { connection in
                let head = try Meta.horizon(connection).head
                var answered = 0
                for lookup in request.lookups where frames.readableBytes < Self.maximumBytes {
                    do {
                        try answer(lookup, connection, now: now, to: &frames)
                    } catch {
                        // One damaged page is no reason not to answer the others.
                        fail(lookup, error, to: &frames)
                    }
                    answered += 1
                }
                return LookupResult(connection: request.connection, head: head, answered: answered, frames: frames)
            }
        } catch {
            frames.clear()
            for lookup in request.lookups { fail(lookup, error, to: &frames) }
            return LookupResult(
                connection: request.connection, head: 0, answered: request.lookups.count, frames: frames)
        }
    }

    private func fail(_ lookup: LookupRequest.Lookup, _ error: any Error, to frames: inout ByteBuffer) {
        let failure = StoreError(reading: error)
        noteFailure(failure)
        let error = WireError(.storageFailed, "the database could not be read: \(failure)", id: lookup.id)
        framing(&frames) { ServerMessage.writeError(error, to: &$0) }
    }

    private func answer(
        _ lookup: LookupRequest.Lookup, _ connection: Database, now: UInt64, to frames: inout ByteBuffer
    ) throws {
        switch lookup {
        case .get(let id, let key):
            let found = try visible(key, connection, now: now)
            framing(&frames) { ServerMessage.writeGot(id: id, key: key, found, to: &$0) }
        case .list(let list):
            let (rows, next) = try self.list(list, connection, now: now)
            framing(&frames) { ServerMessage.writeListed(id: list.id, rows, next: next, to: &$0) }
        case .digest(let digest):
            try self.digest(digest, connection, now: now, to: &frames)
        }
    }

    private func visible(
        _ key: Key, _ connection: Database, now: UInt64
    ) throws -> (register: Register, revision: UInt64)? {
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE key = ?1")
        let rows = RowReader(statement)
        defer { rows.reset() }
        rows.bind(key.bytes, at: 1)
        guard let row = try rows.next(), row.register.isVisible(at: now) else { return nil }
        return (row.register, row.revision)
    }

    private func list(
        _ list: ClientMessage.List, _ connection: Database, now: UInt64
    ) throws -> (rows: [(register: Register, revision: UInt64)], next: Key?) {
        var rows: [(register: Register, revision: UInt64)] = []
        var bytes = 0
        var looked = 0
        var last = list.after
        var next: Key?
        try forEachRow(of: list.pattern, after: list.after, connection) { row in
            if rows.count == list.limit || bytes >= Self.maximumBytes || looked == Self.maximumRows {
                next = last
                return false
            }
            looked += 1
            last = row.register.key
            if row.register.isVisible(at: now), list.pattern.matches(row.register.key) {
                rows.append((row.register, row.revision))
                bytes += row.register.key.bytes.count + (row.register.value?.count ?? 0)
            }
            return true
        }
        return (rows, next)
    }

    /// The digest of what reads see in a range of keys.
    private func digest(
        _ request: ClientMessage.Digest, _ connection: Database, now: UInt64, to frames: inout ByteBuffer
    ) throws {
        var digest = RegisterDigest()
        var last: Key?
        var looked = 0
        var isComplete = true
        try forEachRow(of: request.pattern, after: request.after, connection) { row in
            if let through = request.through, row.register.key > through { return false }
            if looked == request.limit {
                isComplete = false
                return false
            }
            looked += 1
            last = row.register.key
            if row.register.isVisible(at: now), request.pattern.matches(row.register.key) { digest.add(row.register) }
            return true
        }
        let result = digest
        let lastKey = last
        let isEnd = isComplete
        framing(&frames) {
            ServerMessage.writeDigest(id: request.id, result, last: lastKey, isComplete: isEnd, to: &$0)
        }
    }

    // MARK: Rows

    /// Goes through the registers whose keys start as the pattern's matches do, in the order of keys, behind `after`,
    /// until `body` returns false.
    private func forEachRow(
        of pattern: Pattern, after: Key?, _ connection: Database, _ body: (StoredRegister) throws -> Bool
    ) throws {
        let prefix = pattern.literalPrefix
        let isExact = if case .exact = pattern.shape { true } else { false }
        let condition = isExact ? "key = ?1 AND key > ?2" : "key >= ?1 AND key > ?2 AND key < ?3"
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE \(condition) ORDER BY key")
        let rows = RowReader(statement)
        defer { rows.reset() }
        rows.bind(prefix, at: 1)
        rows.bind(after?.bytes ?? [], at: 2)
        if !isExact { rows.bind(Self.end(of: prefix), at: 3) }
        while let row = try rows.next() {
            guard try body(row) else { return }
        }
    }

    /// The least byte string that is greater than every string with `prefix`. No byte of a key is FF, so that one is
    /// greater than all keys, and the last byte of a prefix can always be raised.
    private static func end(of prefix: [UInt8]) -> [UInt8] {
        guard let last = prefix.last else { return [0xFF] }
        return prefix.dropLast() + [last + 1]
    }

    /// A page being put together.
    private struct PageDraft {
        let request: PageRequest
        let framing: Framing
        var horizon = Meta.Horizon(head: 0, collected: 0)
        var rows: [PageResult.Row] = []
        var frames = ByteBuffer()
        var next: PageRequest.Position?
        var lastKey: Key?
        var looked = 0

        var isFull: Bool { frames.readableBytes >= maximumBytes || looked >= maximumRows }

        mutating func append(_ row: StoredRegister) {
            framing(&frames) { ServerMessage.writeUpdate(row.register, revision: row.revision, to: &$0) }
            rows.append(PageResult.Row(key: row.register.key, end: frames.readableBytes))
        }

        var result: PageResult {
            PageResult(
                request: request, head: horizon.head, collectedRevision: horizon.collected, rows: rows, frames: frames,
                next: next)
        }
    }
}

extension StoreError {
    /// What GRDB or a row reader says of a failure.
    init(reading error: any Error) {
        switch error {
        case let error as StoreError: self = error
        case let error as DatabaseError:
            self.init(
                "\(error.message ?? "unknown") (SQLite \(error.extendedResultCode.rawValue))",
                code: error.extendedResultCode.rawValue)
        default: self.init("\(error)")
        }
    }
}
