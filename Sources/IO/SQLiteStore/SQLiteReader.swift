import Access
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
    /// How many rows a list or a digest may look at where it could not say where to go on, since the reader must not be told of
    /// any of them.
    private static let maximumScan = 65_536

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
            try database.lock.checkFiles()
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
        let filter = page.request.filter
        let matcher = filter.makeMatcher()
        try forEachRow(of: filter, after: after, connection) { row in
            if page.isFull {
                page.next = page.lastKey.map { .keys(after: $0, base: base) }
                return false
            }
            page.looked += 1
            page.lastKey = row.register.key
            let isPart = row.register.isTombstone ? row.revision > base : !row.register.isExpired(at: now)
            if isPart, matcher.matches(row.register.key) { page.append(row) }
            return true
        }
    }

    private func readChanges(into page: inout PageDraft, after: UInt64, _ connection: Database, now: UInt64) throws {
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE revision > ?1 ORDER BY revision")
        let rows = RowReader(statement, seal: database.seal)
        defer { rows.reset() }
        rows.bind(Int64(after), at: 1)
        let matcher = page.request.filter.makeMatcher()
        var position = after
        while let row = try rows.next() {
            if page.isFull {
                page.next = .changes(after: position)
                return
            }
            page.looked += 1
            position = row.revision
            guard matcher.matches(row.register.key) else { continue }
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
            // SQLite maps the index of its log into memory: to read one that was cut short would end the process.
            try database.lock.checkFiles()
            return try database.pool.read { connection in
                let head = try Meta.horizon(connection).head
                var answered = 0
                for lookup in request.lookups where frames.readableBytes < Self.maximumBytes {
                    do {
                        try answer(lookup, within: request.scope, connection, now: now, to: &frames)
                    } catch let error as WireError {
                        var error = error
                        error.id = lookup.id
                        let refusal = error
                        framing(&frames) { ServerMessage.writeError(refusal, to: &$0) }
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
        _ lookup: LookupRequest.Lookup, within scope: Scope, _ connection: Database, now: UInt64,
        to frames: inout ByteBuffer
    ) throws {
        switch lookup {
        case .get(let id, let key):
            let found = scope.admits(key) ? try visible(key, connection, now: now) : nil
            framing(&frames) { ServerMessage.writeGot(id: id, key: key, found, to: &$0) }
        case .list(let list):
            let filter = Filter(list.pattern, within: scope)
            let (rows, next) = try self.list(list, filter, connection, now: now)
            framing(&frames) { ServerMessage.writeListed(id: list.id, rows, next: next, to: &$0) }
        case .digest(let digest):
            try self.digest(
                digest, Filter(digest.pattern, within: scope), connection, now: now, to: &frames)
        }
    }

    /// How far a list or a digest has got. It ends behind a key that the reader may be told of, since it says where to go on.
    private struct Scan {
        let filter: Filter
        private(set) var looked = 0
        private(set) var lastNamed: Key?

        init(filter: Filter) {
            self.filter = filter
        }

        /// - Throws: ``WireError`` when there is none for too long.
        mutating func look(at key: Key) throws {
            looked += 1
            if filter.mayName(key) {
                lastNamed = key
            } else if lastNamed == nil, looked > maximumScan {
                throw WireError(
                    .tooLarge,
                    "\(maximumScan) keys are where \(filter.pattern) looks next, and none of them may be read",
                    hint: "ask for a pattern that begins as the keys do that may be read")
            }
        }
    }

    private func visible(
        _ key: Key, _ connection: Database, now: UInt64
    ) throws -> (register: Register, revision: UInt64)? {
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE key = ?1")
        let rows = RowReader(statement, seal: database.seal)
        defer { rows.reset() }
        rows.bind(key.bytes, at: 1)
        guard let row = try rows.next() else { return nil }
        guard row.register.key == key else { throw StoreError.anotherKey(row.register.key, than: key) }
        guard row.register.isVisible(at: now) else { return nil }
        return (row.register, row.revision)
    }

    private func list(
        _ list: ClientMessage.List, _ filter: Filter, _ connection: Database, now: UInt64
    ) throws -> (rows: [(register: Register, revision: UInt64)], next: Key?) {
        var rows: [(register: Register, revision: UInt64)] = []
        var bytes = 0
        var scan = Scan(filter: filter)
        var next: Key?
        let matcher = filter.makeMatcher()
        try forEachRow(of: filter, after: list.after, connection) { row in
            let isFull = rows.count == list.limit || bytes >= Self.maximumBytes || scan.looked >= Self.maximumRows
            if isFull, scan.lastNamed != nil {
                next = scan.lastNamed
                return false
            }
            try scan.look(at: row.register.key)
            if row.register.isVisible(at: now), matcher.matches(row.register.key) {
                rows.append((row.register, row.revision))
                bytes += row.register.key.bytes.count + (row.register.value?.count ?? 0)
            }
            return true
        }
        return (rows, next)
    }

    /// The digest of what reads see in a range of keys.
    private func digest(
        _ request: ClientMessage.Digest, _ filter: Filter, _ connection: Database, now: UInt64,
        to frames: inout ByteBuffer
    ) throws {
        var digest = RegisterDigest()
        var scan = Scan(filter: filter)
        var isComplete = true
        let matcher = filter.makeMatcher()
        try forEachRow(of: filter, after: request.after, connection) { row in
            if let through = request.through, row.register.key > through { return false }
            if scan.looked >= request.limit, scan.lastNamed != nil {
                isComplete = false
                return false
            }
            try scan.look(at: row.register.key)
            if row.register.isVisible(at: now), matcher.matches(row.register.key) { digest.add(row.register) }
            return true
        }
        let result = digest
        let lastKey = scan.lastNamed
        let isEnd = isComplete
        framing(&frames) {
            ServerMessage.writeDigest(id: request.id, result, last: lastKey, isComplete: isEnd, to: &$0)
        }
    }

    // MARK: Rows

    /// Goes through the registers in the filter's ranges, in the order of keys, behind `after`, until `body` returns false.
    private func forEachRow(
        of filter: Filter, after: Key?, _ connection: Database, _ body: (StoredRegister) throws -> Bool
    ) throws {
        for range in filter.ranges {
            guard try forEachRow(in: range, after: after, connection, body) else { return }
        }
    }

    /// - Returns: false when `body` did.
    private func forEachRow(
        in range: KeyRange, after: Key?, _ connection: Database, _ body: (StoredRegister) throws -> Bool
    ) throws -> Bool {
        // One bound at each end: of two at the same end SQLite begins at the first, and looks at all rows up to the other.
        // No key has a zero byte: there is none between a key and the same with a zero behind it.
        var start = range.start
        if let after, after.bytes.lexicographicallyPrecedes(start) == false { start = after.bytes + [0] }
        let statement = try connection.cachedStatement(
            sql: "SELECT \(Schema.registerColumns) FROM register WHERE key >= ?1 AND key < ?2 ORDER BY key")
        let rows = RowReader(statement, seal: database.seal)
        defer { rows.reset() }
        rows.bind(start, at: 1)
        rows.bind(range.isExact ? range.start + [0] : Self.end(of: range.start), at: 2)
        while let row = try rows.next() {
            guard try body(row) else { return false }
        }
        return true
    }

    /// The least byte string that is greater than every string with `prefix`. No byte of a key is FF, so that one is
    /// greater than all keys, and the last byte of a prefix can always be raised.
    static func end(of prefix: [UInt8]) -> [UInt8] {
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
            // Most pages of many rows are full ones.
            if rows.count == 64 { frames.reserveCapacity(maximumBytes + maximumBytes / 8) }
            framing(&frames) { ServerMessage.writeUpdate(row.register, revision: row.revision, to: &$0) }
            rows.append(PageResult.Row(key: row.register.key, revision: row.revision, end: frames.readableBytes))
        }

        var result: PageResult {
            PageResult(
                request: request, head: horizon.head, collectedRevision: horizon.collected, rows: rows, frames: frames,
                next: next)
        }
    }
}

extension StoreError {
    /// A row was found under a key that it is not of.
    static func anotherKey(_ found: Key, than key: Key) -> StoreError {
        StoreError("the row found under \(key) is that of \(found): the index was altered", code: damagedRow)
    }

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
